//! What an agent sees of the default fleet.

use perf_agent::base::EffectKey;
use perf_agent::domain::{Knob, KnobValue};
use perf_agent::serving::simulated::{AppliesTo, Fault, WorldSpec};
use perf_agent::serving::{Error, Purpose};

use super::support::{canary, good, launcher, open, pass, plane, spec, stable, table};

#[tokio::test]
async fn the_default_fleet_is_mistuned_but_stable_and_a_good_config_meets_300_ms() {
    for seed in 1..=20 {
        let mistuned = WorldSpec { seed: Some(seed), ..WorldSpec::default() };
        let tuned = WorldSpec { config: good(), ..mistuned.clone() };
        let before = open(mistuned).target().observe.observe(600.0, None).await.unwrap();
        let after = open(tuned).target().observe.observe(600.0, None).await.unwrap();
        let clients = before.client.unwrap();
        let ttft = clients.ttft_p95_ms.unwrap();
        assert!((500.0..5_000.0).contains(&ttft), "seed {seed}: {ttft} ms");
        assert!(before.waiting.unwrap().mean < 6.0, "seed {seed}: the queue grows");
        let (carried, offered) = (clients.finished_rps.unwrap(), 5.5);
        assert!((carried / offered - 1.0).abs() < 0.1, "seed {seed}: {carried} of {offered}");
        assert_eq!(clients.error_rate, Some(0.0));
        let better = after.client.unwrap().ttft_p95_ms.unwrap();
        assert!(better < 300.0, "seed {seed}: {better} ms with a good config");
    }
}

#[tokio::test]
async fn a_window_that_is_not_full_yet_is_waited_for() {
    let world = open(spec(1));
    let began = world.clock().now();
    let seen = world.target().observe.observe(100.0, None).await.unwrap();
    assert_eq!(world.clock().now().since(began), 40_000, "60 s of traffic were there");
    assert_eq!(seen.window_s, 100.0);
    assert_eq!(seen.client.unwrap().window_s, 100.0);
    let at = world.clock().now();
    world.target().observe.observe(60.0, None).await.unwrap();
    assert_eq!(world.clock().now(), at);
    let error = world.target().observe.observe(7_200.0, None).await.unwrap_err();
    assert!(matches!(error, Error::NotEnoughHistory { .. }), "{error}");
}

#[tokio::test]
async fn the_config_and_the_pages_are_those_of_the_version_that_serves_users() {
    let world = open(spec(1));
    let old = stable(&world).await;
    let new = canary(&world, &good()).await;
    let (plane, launcher) = (plane(&world), launcher(&world));
    plane.apply(&table(2, &old, Some(&new.backend), 25.0)).await.unwrap();
    pass(&world, 30.0).await;
    assert_eq!(world.target().deployment.config, spec(1).config, "a canary is not the version");
    plane.apply(&table(3, &old, Some(&new.backend), 100.0)).await.unwrap();
    launcher.assign(&new.backend.id, Purpose::Stable).await.unwrap();
    assert_eq!(world.target().deployment.config, good());
    plane.apply(&table(4, &new.backend, None, 0.0)).await.unwrap();
    launcher.stop(&old.id).await.unwrap();
    let seen = world.target().observe.observe(120.0, None).await.unwrap();
    assert_eq!(seen.replicas, 1);
    assert_eq!(seen.config.bool(Knob::EnablePrefixCaching), Some(true), "read back from its page");
    assert!(seen.prefix_hit_ratio.unwrap() > 0.1);
}

#[tokio::test]
async fn a_dead_version_is_unreachable_and_not_idle() {
    let faults = vec![Fault::Crash { applies_to: AppliesTo::Stable, after_s: 65.0 }];
    let world = open(WorldSpec { faults, ..spec(1) });
    pass(&world, 30.0).await;
    let error = world.target().observe.observe(30.0, None).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn a_longest_request_that_is_too_short_turns_users_away() {
    let short = good().with(Knob::MaxModelLen, KnobValue::Int(2048));
    let world = open(WorldSpec { config: short, ..spec(1) });
    let clients = world.target().observe.observe(60.0, None).await.unwrap().client.unwrap();
    assert!(clients.error_rate.unwrap() > 0.05, "{:?}", clients.error_rate);
}

#[tokio::test]
async fn devices_say_what_the_model_knows_and_no_more() {
    let faults = vec![Fault::GpuThrottle { from_s: 50.0, until_s: None, slowdown: 1.3 }];
    let world = open(WorldSpec { faults, ..spec(1) });
    let readings = world.target().gpus.read().await.unwrap();
    assert_eq!(readings.len(), 2);
    let (busy, spare) = (&readings[0], &readings[1]);
    assert!(busy.gpu_utilization.unwrap() > 0.5 && spare.gpu_utilization == Some(0.0));
    assert!(busy.memory_used_bytes > spare.memory_used_bytes);
    assert_eq!(busy.throttle_reasons, ["hw_thermal_slowdown"]);
    assert_eq!((busy.power_w, busy.temperature_c), (None, None));
}

#[tokio::test]
async fn the_past_can_be_read_in_steps() {
    let world = open(spec(1));
    let key = EffectKey("trial".to_owned());
    launcher(&world).launch(&key, &good(), Purpose::Trial).await.unwrap();
    pass(&world, 300.0).await;
    let series = world.target().observe.series(240.0, 60.0).await.unwrap();
    assert_eq!(series.len(), 4);
    assert!(series.windows(2).all(|two| two[0].at < two[1].at));
    assert!(series.iter().all(|seen| seen.replicas == 1 && seen.client.is_none()));
}
