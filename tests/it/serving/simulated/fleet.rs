//! Servers of a world: started, refused, broken, stopped; and what a load on one of them comes to.

use perf_agent::base::{Coded, EffectKey};
use perf_agent::domain::{Finish, Knob, KnobValue, RequestStats, ServingConfig};
use perf_agent::serving::simulated::{AppliesTo, Fault, WorldSpec};
use perf_agent::serving::{Error, Health, Purpose};

use super::support::{
    canary, driver, good, launcher, load, open, pass, plane, records_of, spec, stable, state, table,
};

#[tokio::test]
async fn one_seed_is_one_history_and_another_seed_is_another() {
    let lived = async |seed| {
        let world = open(spec(seed));
        pass(&world, 120.0).await;
        state(&world).await
    };
    assert_eq!(lived(1).await, lived(1).await);
    assert_ne!(lived(1).await, lived(2).await);
}

#[tokio::test]
async fn many_short_sleeps_are_the_same_history_as_one_long_one() {
    let faults = vec![Fault::GpuThrottle { from_s: 70.5, until_s: Some(90.25), slowdown: 1.5 }];
    let throttled = WorldSpec { faults, ..spec(3) };
    let (a, b) = (open(throttled.clone()), open(throttled));
    for _ in 0..997 {
        a.clock().sleep_ms(97).await;
    }
    b.clock().sleep_ms(997 * 97).await;
    assert_eq!(state(&a).await, state(&b).await);
}

#[tokio::test]
async fn the_same_key_starts_one_server_and_takes_its_time_once() {
    let world = open(spec(1));
    let before = world.clock().now();
    let first = canary(&world, &good()).await;
    assert_eq!(world.clock().now().since(before), 20_000);
    let again = canary(&world, &good()).await;
    assert_eq!(first, again);
    assert_eq!(world.clock().now().since(before), 20_000, "it is there already");
    assert_eq!(launcher(&world).running().await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_server_that_starts_is_not_ready_before_its_time() {
    let world = open(spec(1));
    let launching = tokio::spawn({
        let world = world.clone();
        async move { canary(&world, &good()).await }
    });
    pass(&world, 5.0).await;
    let running = launcher(&world).running().await.unwrap();
    let id = &running[1].backend.id;
    assert_eq!(running[1].ready, None);
    assert_eq!(launcher(&world).health(id).await.unwrap(), Health::Starting);
    let ready = launching.await.unwrap();
    assert_eq!(launcher(&world).health(&ready.backend.id).await.unwrap(), Health::Healthy);
}

async fn refusal(spec: WorldSpec, config: ServingConfig) -> (String, Vec<String>) {
    let world = open(spec);
    let key = EffectKey("trial".to_owned());
    let twice = async || launcher(&world).launch(&key, &config, Purpose::Trial).await.unwrap_err();
    let first = twice().await;
    assert_eq!(first.code(), "serving.start_failed");
    assert_eq!(first.to_string(), twice().await.to_string(), "asked again it says the same");
    assert_eq!(launcher(&world).running().await.unwrap().len(), 1, "nothing is left behind");
    match first {
        Error::StartFailed { reason, last_lines } => (reason, last_lines),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn what_vllm_refuses_does_not_start_and_ends_with_its_last_lines() {
    let budget = good().with(Knob::MaxNumBatchedTokens, KnobValue::Int(100));
    let (reason, lines) =
        refusal(spec(1), budget.with(Knob::MaxNumSeqs, KnobValue::Int(200))).await;
    assert!(
        reason.contains("max_num_batched_tokens (100) must be at least max_num_seqs (200)"),
        "{reason}"
    );
    assert!(lines.last().unwrap().contains("Engine core initialization failed"), "{lines:?}");

    let memory = good().with(Knob::GpuMemoryUtilization, KnobValue::Float(0.2));
    let (_, lines) = refusal(spec(1), memory).await;
    assert!(
        lines.iter().any(|line| line.contains("No available memory for the cache blocks")),
        "{lines:?}"
    );

    let split = good().with(Knob::TensorParallelSize, KnobValue::Int(2));
    let (reason, _) = refusal(spec(1), split).await;
    assert_eq!(reason, "2 GPUs are needed and 1 of 2 are free");
}

#[tokio::test]
async fn a_fault_can_forbid_one_setting() {
    let text = r#"{"kind": "fails_to_start", "when": {"knob": "kv_cache_dtype", "value": "fp8"}}"#;
    let faults = vec![serde_json::from_str(text).unwrap()];
    let fp8 = good().with(Knob::KvCacheDtype, KnobValue::Text("fp8".to_owned()));
    let (reason, _) = refusal(WorldSpec { faults, ..spec(1) }, fp8).await;
    assert_eq!(reason, "the engine core died while it started with kv_cache_dtype=fp8");
}

#[tokio::test]
async fn a_stopped_server_gives_its_device_back() {
    let world = open(spec(1));
    let first = canary(&world, &good()).await;
    let next = EffectKey("next".to_owned());
    assert!(launcher(&world).launch(&next, &good(), Purpose::Trial).await.is_err());
    launcher(&world).stop(&first.backend.id).await.unwrap();
    launcher(&world).stop(&first.backend.id).await.unwrap();
    let other = EffectKey("other".to_owned());
    launcher(&world).launch(&other, &good(), Purpose::Trial).await.unwrap();
    assert_eq!(launcher(&world).running().await.unwrap().len(), 2);
}

#[tokio::test]
async fn only_the_canary_lands_on_the_slow_node() {
    let faults =
        vec![Fault::SlowNode { applies_to: AppliesTo::Canary, slowdown: 1.6, from_s: 0.0 }];
    let tpot = async |purpose| {
        let world = open(WorldSpec { faults: faults.clone(), ..spec(1) });
        let key = EffectKey("one".to_owned());
        let server = launcher(&world).launch(&key, &good(), purpose).await.unwrap();
        let records = driver(&world).drive(&server.backend, &load(2.0, 60.0, 5)).await.unwrap();
        let all: Vec<_> = records.iter().collect();
        RequestStats::of(&all, 60.0, None).tpot_p50_ms.unwrap()
    };
    let (trial, canary) = (tpot(Purpose::Trial).await, tpot(Purpose::Canary).await);
    assert!((1.5..1.7).contains(&(canary / trial)), "{canary} against {trial}");
}

#[tokio::test]
async fn a_crash_cuts_streams_and_stable_answers_for_the_dead_canary() {
    let faults = vec![Fault::Crash { applies_to: AppliesTo::Canary, after_s: 30.0 }];
    let world = open(WorldSpec { faults, ..spec(1) });
    let stable = stable(&world).await;
    let canary = canary(&world, &good()).await;
    plane(&world).apply(&table(2, &stable, Some(&canary.backend), 50.0)).await.unwrap();
    let records = records_of(&world, 60.0).await;
    let health = launcher(&world).health(&canary.backend.id).await.unwrap();
    assert!(matches!(health, Health::Down { .. }), "{health:?}");
    let count = |finish| records.iter().filter(|r| r.finish == finish).count();
    assert!(count(Finish::Cut) > 0 && count(Finish::Failed) > 20, "{} cut", count(Finish::Cut));
    let helped = records.iter().filter(|r| !r.randomized && r.finish == Finish::Complete);
    assert!(helped.count() > 20, "users of the dead canary are served by stable");
}

#[tokio::test]
async fn a_share_of_requests_fails_on_demand() {
    let faults = vec![Fault::ErrorRate { applies_to: AppliesTo::Stable, ratio: 0.2 }];
    let world = open(WorldSpec { faults, ..spec(1) });
    let records = records_of(&world, 300.0).await;
    let failed = records.iter().filter(|r| r.status == 500 && r.finish == Finish::Failed).count();
    let share = failed as f64 / records.len() as f64;
    assert!((0.15..0.25).contains(&share), "{share}");
}

#[tokio::test]
async fn a_load_asked_for_again_is_the_same_load() {
    let world = open(spec(1));
    let server = canary(&world, &good()).await;
    let first = driver(&world).drive(&server.backend, &load(3.0, 30.0, 7)).await.unwrap();
    let after = world.clock().now();
    let again = driver(&world).drive(&server.backend, &load(3.0, 30.0, 7)).await.unwrap();
    assert_eq!(first, again);
    assert_eq!(world.clock().now(), after);
    assert!((60..130).contains(&first.len()), "{}", first.len());
    assert!(first.iter().all(|r| r.finish == Finish::Complete && !r.randomized));
    let other = driver(&world).drive(&server.backend, &load(3.0, 30.0, 8)).await.unwrap();
    assert_ne!(first, other);
}

#[tokio::test]
async fn synthetic_clients_lose_patience_with_an_overloaded_server() {
    let world = open(spec(1));
    let one_seat = good().with(Knob::MaxNumSeqs, KnobValue::Int(1));
    let server = canary(&world, &one_seat).await;
    let records = driver(&world).drive(&server.backend, &load(10.0, 30.0, 7)).await.unwrap();
    assert!(records.iter().any(|r| r.finish == Finish::Failed && r.status == 0));
    assert_eq!(plane(&world).in_flight(&server.backend.id).await.unwrap(), 0);
}

#[tokio::test]
async fn a_world_that_makes_no_sense_says_which_number() {
    let nonsense = WorldSpec { truth_sigma: f64::NAN, ..WorldSpec::default() };
    let error = perf_agent::serving::simulated::World::open(nonsense, None).err().unwrap();
    assert_eq!(error.code(), "serving.invalid_world");
    assert_eq!(error.to_string(), "world: `truth_sigma` is NaN, expected 0 to 1");
    let unknown = WorldSpec { gpu: "H1000".to_owned(), ..WorldSpec::default() };
    let error = perf_agent::serving::simulated::World::open(unknown, None).err().unwrap();
    assert_eq!(error.to_string(), "world: `gpu` is H1000, expected a name of the catalogue");
}
