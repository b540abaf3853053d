//! How many requests per second of wall time one core simulates.
//!
//! `cargo run --release --example simulator_speed`

use std::time::Instant;

use perf_agent::domain::{Knob, KnobValue, ServingConfig};
use perf_agent::sim::workload::{Kind, Workload, generate};
use perf_agent::sim::{Coefficients, EngineConfig, ReplicaSpec, SimOptions, gpu, model, simulate};

const REQUESTS: usize = 100_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let model = model("Llama-3.1-8B").ok_or("no model")?;
    let gpu = gpu("H100").ok_or("no device")?;
    println!(
        "| workload | offered req/s | batch | KV | simulated req/s of wall time | with generating |"
    );
    println!("| --- | --- | --- | --- | --- | --- |");
    for (kind, rates) in [
        (Kind::Chat, [2.0, 5.5, 12.0, 16.0]),
        (Kind::Code, [2.0, 5.0, 8.0, 12.0]),
        (Kind::Agents, [1.0, 2.0, 4.0, 8.0]),
        (Kind::Reasoning, [1.0, 2.0, 4.0, 8.0]),
    ] {
        for rate_rps in rates {
            let knobs = ServingConfig::default().with(Knob::MaxModelLen, KnobValue::Int(65_536));
            let spec = ReplicaSpec {
                config: EngineConfig::resolve(&knobs, &model, &gpu)?,
                model: model.clone(),
                gpu: gpu.clone(),
                coefficients: Coefficients::default(),
            };
            let begun = Instant::now();
            let trace = generate(&Workload::of(kind), rate_rps, 1, REQUESTS);
            let generated_s = begun.elapsed().as_secs_f64();
            let begun = Instant::now();
            let report = simulate(&spec, 1, &trace, &SimOptions::default())?;
            let simulated_s = begun.elapsed().as_secs_f64();
            println!(
                "| {kind:?} | {rate_rps} | {:.0} | {:.2} | {:.0} | {:.0} |",
                report.running_mean,
                report.kv_utilization_mean,
                REQUESTS as f64 / simulated_s,
                REQUESTS as f64 / (simulated_s + generated_s),
            );
        }
    }
    Ok(())
}
