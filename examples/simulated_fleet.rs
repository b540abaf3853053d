//! What users of the default simulated fleet see, seed by seed, before anything is tuned; beside it the same users on
//! vLLM's own defaults. And how long a virtual hour takes.
//!
//! `cargo run --release --example simulated_fleet -- [KNOB=VALUE …] [rate_rps=VALUE]` changes the start config and the traffic.
#![allow(clippy::unwrap_used, reason = "an example may stop where it is")]

use std::time::Instant;

use perf_agent::domain::{
    Cause, Knob, KnobValue, Metric, Objective, Observation, ServingConfig, Statistic, Target,
};
use perf_agent::serving::simulated::{World, WorldSpec};
use perf_agent::tuning::diagnose;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut spec = WorldSpec::default();
    for argument in std::env::args().skip(1) {
        let (name, value) = argument.split_once('=').expect("NAME=VALUE");
        if name == "rate_rps" {
            spec.traffic.rate_rps = value.parse().unwrap();
            continue;
        }
        let knob: Knob = serde_json::from_value(serde_json::json!(name)).unwrap();
        let value: KnobValue =
            serde_json::from_str(value).unwrap_or(KnobValue::Text(value.to_owned()));
        spec.config = spec.config.with(knob, value);
    }
    println!(
        "seed | before: TTFT p50  p95  TPOT p95  rps  waiting  running  KV  hit | good: TTFT p95  TPOT p95 | cause before"
    );
    for seed in 1..=20 {
        let before = look(&spec, seed).await;
        let good = WorldSpec { config: ServingConfig::default(), ..spec.clone() };
        let good = look(&good, seed).await;
        let ((before, cause), (good, _)) = (before, good);
        let (seen, better) = (before.client.unwrap(), good.client.unwrap());
        let mean = |gauge: Option<perf_agent::domain::Distribution>| gauge.map_or(-1.0, |g| g.mean);
        println!(
            "{seed:4} | {:8.0} {:6.0} {:8.1} {:6.2} {:7.2} {:8.1} {:.2} {:.2} | {:6.0} {:8.1} | {cause}",
            seen.ttft_p50_ms.unwrap(),
            seen.ttft_p95_ms.unwrap(),
            seen.tpot_p95_ms.unwrap(),
            seen.finished_rps.unwrap(),
            mean(before.waiting),
            mean(before.running),
            mean(before.kv_cache_utilization),
            before.prefix_hit_ratio.unwrap_or(0.0),
            better.ttft_p95_ms.unwrap(),
            better.tpot_p95_ms.unwrap(),
        );
    }
    let world = World::open(WorldSpec { seed: Some(1), ..spec }, None).unwrap();
    let began = Instant::now();
    world.clock().sleep_ms(3_600_000).await;
    println!("a virtual hour: {:.2} s", began.elapsed().as_secs_f64());
}

async fn look(spec: &WorldSpec, seed: u64) -> (Observation, Cause) {
    let world = World::open(WorldSpec { seed: Some(seed), ..spec.clone() }, None).unwrap();
    let target = world.target();
    let objective = Objective {
        deployment: spec.deployment.clone(),
        targets: vec![Target { metric: Metric::Ttft, statistic: Statistic::P95, max_ms: 300.0 }],
        keep: Vec::new(),
        improve: None,
    };
    let seen = target.observe.observe(600.0, Some(&objective)).await.unwrap();
    let cause = diagnose(&seen, None, &objective, &target.deployment).bottleneck;
    (seen, cause)
}
