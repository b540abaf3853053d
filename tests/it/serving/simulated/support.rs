//! Worlds and tables that the tests share.

use std::sync::Arc;

use perf_agent::base::EffectKey;
use perf_agent::domain::{
    Arm, ArmWeight, Backend, Knob, KnobValue, RequestRecord, ServingConfig, TokenLengths,
    TrafficTable, WorkloadProfile,
};
use perf_agent::serving::simulated::{World, WorldSpec};
use perf_agent::serving::{Launcher, LoadDriver, LoadSpec, Purpose, Running, TrafficPlane};

/// A small world that starts quickly.
pub fn spec(seed: u64) -> WorldSpec {
    WorldSpec { seed: Some(seed), warmup_s: 60.0, start_up_s: 20.0, ..WorldSpec::default() }
}

pub fn open(spec: WorldSpec) -> Arc<World> {
    World::open(spec, None).unwrap()
}

pub async fn pass(world: &Arc<World>, s: f64) {
    world.clock().sleep_ms((s * 1000.0) as u64).await;
}

pub fn plane(world: &Arc<World>) -> Arc<dyn TrafficPlane> {
    world.target().traffic.unwrap()
}

pub fn launcher(world: &Arc<World>) -> Arc<dyn Launcher> {
    world.target().launcher.unwrap()
}

pub fn driver(world: &Arc<World>) -> Arc<dyn LoadDriver> {
    world.target().load.unwrap()
}

/// A config that leaves nobody waiting.
pub fn good() -> ServingConfig {
    ServingConfig::default().with(Knob::MaxModelLen, KnobValue::Int(32_768))
}

pub async fn canary(world: &Arc<World>, config: &ServingConfig) -> Running {
    let key = EffectKey("canary".to_owned());
    launcher(world).launch(&key, config, Purpose::Canary).await.unwrap()
}

/// `stable` and `canary` at a share, under one salt.
pub fn table(
    generation: u64,
    stable: &Backend,
    canary: Option<&Backend>,
    percent: f64,
) -> TrafficTable {
    let arm = |arm, backend: &Backend| ArmWeight { arm, backends: vec![backend.clone()] };
    TrafficTable {
        generation,
        salt: "rollout-1".to_owned(),
        stable: arm(Arm::Stable, stable),
        canary: canary.map(|backend| arm(Arm::Canary, backend)),
        canary_percent: percent,
        lease_ms: None,
    }
}

/// The stable backend of a world at its start.
pub async fn stable(world: &Arc<World>) -> Backend {
    plane(world).observed().await.unwrap().stable.backends[0].clone()
}

/// Records of the next `s` seconds.
pub async fn records_of(world: &Arc<World>, s: f64) -> Vec<RequestRecord> {
    let plane = plane(world);
    let (_, now) = plane.records(u64::MAX).await.unwrap();
    pass(world, s).await;
    plane.records(now).await.unwrap().0
}

/// Everything there is to know about a world, as text.
pub async fn state(world: &Arc<World>) -> String {
    let target = world.target();
    let plane = plane(world);
    let (records, next) = plane.records(0).await.unwrap();
    let running = launcher(world).running().await.unwrap();
    let table = plane.observed().await.unwrap();
    let seen = target.observe.series(60.0, 30.0).await.unwrap();
    let now = world.clock().now();
    let gpus = target.gpus.read().await.unwrap();
    let config = &target.deployment.config;
    serde_json::to_string(&(now, next, records, running, table, seen, gpus, config)).unwrap()
}

pub fn load(rate_rps: f64, duration_s: f64, seed: u64) -> LoadSpec {
    let lengths = |mean: f64| TokenLengths { mean, p50: 0.8 * mean, p95: 2.5 * mean };
    LoadSpec {
        profile: WorkloadProfile {
            request_rate_rps: rate_rps,
            arrival_cv: 1.0,
            input_tokens: lengths(800.0),
            output_tokens: lengths(150.0),
            shared_prefix_ratio: 0.0,
        },
        warmup_s: 10.0,
        duration_s,
        seed,
    }
}
