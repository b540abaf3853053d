//! Every cause injected into the simulator, and the names it is given.

use std::collections::BTreeMap;

use perf_agent::domain::*;
use perf_agent::sim::ReplicaSpec;
use perf_agent::tuning::diagnose;

use super::fixtures::*;
use super::injected::{Scenario, load, observe, observe_replica, replica_of};

fn a100() -> GpuSpec {
    GpuSpec {
        name: "A100".into(),
        peak_flops: 312e12,
        peak_flops_fp8: 312e12,
        memory_bytes_per_s: 2.039e12,
        memory_bytes: 80e9,
        link_bytes_per_s: 300e9,
    }
}

fn l40s() -> GpuSpec {
    GpuSpec {
        name: "L40S".into(),
        peak_flops: 362e12,
        peak_flops_fp8: 724e12,
        memory_bytes_per_s: 0.864e12,
        memory_bytes: 48e9,
        link_bytes_per_s: 32e9,
    }
}

/// A device with its speed against an H100 in prefill (compute) and decode (bandwidth).
struct Device {
    gpu: GpuSpec,
    compute: f64,
    memory: f64,
}

fn devices() -> [Device; 3] {
    let of = |gpu: GpuSpec| Device {
        compute: gpu.peak_flops / h100().peak_flops,
        memory: gpu.memory_bytes_per_s / h100().memory_bytes_per_s,
        gpu,
    };
    [of(h100()), of(a100()), of(l40s())]
}

/// A scenario, and the repair that proves its cause: with it the objective is met.
struct Injected {
    scenario: Scenario,
    /// Turns the broken replica into one that must do.
    repair: fn(&mut ReplicaSpec),
    /// Turns it into one that must still fail: the cure of the cause it could be mistaken for.
    no_repair: fn(&mut ReplicaSpec),
}

/// Single causes on three devices, several loads, several seeds.
fn injections(seeds: std::ops::Range<u64>) -> Vec<Injected> {
    let mut all = Vec::new();
    for seed in seeds {
        for device in &devices() {
            all.extend(of_device(device, seed));
        }
    }
    all
}

/// The seats that the replica's KV cache carries on average, for a request of `tokens`.
fn cap_seats(spec: &mut ReplicaSpec, tokens: f64) {
    let capacity = spec.kv_blocks().unwrap() as f64 * f64::from(spec.config.block_size);
    spec.config.max_num_seqs = ((0.9 * capacity / tokens) as u32).max(1);
}

fn of_device(device: &Device, seed: u64) -> Vec<Injected> {
    let (compute, memory) = (device.compute, device.memory);
    let slow = compute.min(memory);
    let short = (Knob::MaxModelLen, int(16_384));
    let mut all = Vec::new();
    let mut add = |truth: Cause,
                   knobs: &[(Knob, KnobValue)],
                   profile: WorkloadProfile,
                   objective: Objective,
                   repair: fn(&mut ReplicaSpec),
                   no_repair: fn(&mut ReplicaSpec)| {
        let mut deployment = gpu_deployment(knobs);
        deployment.config = deployment.config.with(short.0, short.1.clone());
        deployment.gpu = Some(device.gpu.clone());
        let name =
            format!("{truth} {} {:.2} rps #{seed}", device.gpu.name, profile.request_rate_rps);
        let scenario = Scenario { name, truth, deployment, profile, objective, seed };
        all.push(Injected { scenario, repair, no_repair });
    };
    let ttft = |ms: f64| objective(&[(Metric::Ttft, ms), (Metric::Tpot, 400.0)]);
    let same: fn(&mut ReplicaSpec) = |_| {};
    let more_seats: fn(&mut ReplicaSpec) =
        |spec| spec.config.max_num_seqs = 1024.min(spec.config.max_num_batched_tokens);
    let (chat_in, chat_out) = ((700.0, 3000.0), (150.0, 500.0));
    for share in [0.15, 0.3, 0.45] {
        add(
            Cause::None,
            &[],
            load(20.0 * share * slow, chat_in, chat_out),
            ttft(5000.0),
            same,
            same,
        );
    }
    for (seats, rps) in [(4, 3.5), (8, 6.0), (16, 10.0)] {
        let knobs = [(Knob::MaxNumSeqs, int(seats))];
        add(
            Cause::Seats,
            &knobs,
            load(rps * slow, chat_in, chat_out),
            ttft(1000.0 / slow),
            more_seats,
            |spec| {
                spec.config.max_num_batched_tokens = 16_384;
            },
        );
    }
    for (rps, blocks) in [(8.0, 1024), (10.0, 1300)] {
        let knobs = [(Knob::NumGpuBlocksOverride, int(blocks))];
        add(
            Cause::KvCapacity,
            &knobs,
            load(rps * slow, chat_in, chat_out),
            ttft(1000.0 / slow),
            |spec| spec.config.num_gpu_blocks_override = None,
            |spec| cap_seats(spec, 1300.0),
        );
    }
    for (rps, blocks) in [(4.0, 1100), (5.0, 1500)] {
        let knobs = [(Knob::NumGpuBlocksOverride, int(blocks))];
        add(
            Cause::KvCapacity,
            &knobs,
            load(rps * memory, (500.0, 900.0), (700.0, 1200.0)),
            ttft(1500.0 / memory),
            |spec| spec.config.num_gpu_blocks_override = None,
            |spec| cap_seats(spec, 900.0),
        );
    }
    // Long prompts are let in piece by piece, and evicted before they are done.
    for (input, output, blocks, rps, e2e_ms) in [
        (12_000.0, 200.0, 3000, 0.6, 20_000.0),
        (12_000.0, 200.0, 3000, 0.9, 30_000.0),
        (12_000.0, 200.0, 6000, 0.9, 20_000.0),
        (8000.0, 400.0, 6000, 1.5, 35_000.0),
        (8000.0, 400.0, 3000, 0.8, 60_000.0),
    ] {
        let knobs =
            [(Knob::NumGpuBlocksOverride, int(blocks)), (Knob::MaxNumBatchedTokens, int(8192))];
        add(
            Cause::PreemptionThrash,
            &knobs,
            load(rps * compute, (input, 1.4 * input), (output, 1.4 * output)),
            objective(&[(Metric::E2e, e2e_ms / compute)]),
            |spec| cap_seats(spec, 10_000.0),
            more_seats,
        );
    }
    for (budget, rps) in [(64, 8.0), (128, 16.0)] {
        let knobs = [(Knob::MaxNumSeqs, int(64)), (Knob::MaxNumBatchedTokens, int(budget))];
        add(
            Cause::PrefillBudget,
            &knobs,
            load(rps * memory, (900.0, 2800.0), (20.0, 60.0)),
            ttft(1500.0 / slow),
            |spec| {
                spec.config.max_num_batched_tokens = 8192;
            },
            |spec| spec.config.max_num_seqs = spec.config.max_num_batched_tokens,
        );
    }
    for share in [0.86, 0.95] {
        let rps = share * 31_000.0 * compute / 4850.0;
        add(
            Cause::PrefillCompute,
            &[],
            load(rps, (4000.0, 9000.0), (16.0, 40.0)),
            ttft(700.0 / compute),
            |spec| {
                spec.gpu.peak_flops *= 2.0;
            },
            |spec| spec.config.max_num_batched_tokens = 16_384,
        );
    }
    for rps in [0.4, 1.0] {
        let slo = objective(&[(Metric::Ttft, 3000.0 / slow), (Metric::Tpot, 5.5 / memory)]);
        add(
            Cause::DecodeBandwidth,
            &[],
            load(rps * memory, (300.0, 900.0), (300.0, 800.0)),
            slo,
            |spec| {
                spec.gpu.memory_bytes_per_s *= 2.0;
            },
            |spec| spec.gpu.peak_flops *= 2.0,
        );
    }
    for factor in [1.6, 2.5] {
        add(
            Cause::Overload,
            &[],
            load(26.0 * factor * slow, chat_in, chat_out),
            ttft(1000.0 / slow),
            same,
            |spec| {
                spec.config.gpu_memory_utilization = 0.95;
                spec.config.max_num_batched_tokens = 16_384;
                spec.config.max_num_seqs = 1024;
            },
        );
    }
    all
}

/// Whether the objective is met by those who arrived in the windows, all of them served.
fn meets(injected: &Injected, change: fn(&mut ReplicaSpec)) -> bool {
    let scenario = &injected.scenario;
    let mut spec = replica_of(&scenario.deployment);
    change(&mut spec);
    let clients = observe_replica(scenario, spec).clients;
    let e2e = Target { metric: Metric::E2e, statistic: Statistic::P95, max_ms: f64::MAX };
    clients.error_rate == Some(0.0)
        && scenario.objective.targets.iter().chain([&e2e]).all(|target| {
            let value = match target.metric {
                Metric::Ttft => clients.ttft_p95_ms,
                Metric::Tpot => clients.tpot_p95_ms,
                _ => clients.e2e_p95_ms,
            };
            value.is_some_and(|ms| ms <= target.max_ms)
        })
}

/// Whether the cause is what its label says, by counterfactual.
fn label_holds(injected: &Injected) -> bool {
    let asis: fn(&mut ReplicaSpec) = |_| {};
    match injected.scenario.truth {
        Cause::None => meets(injected, asis),
        Cause::Overload => !meets(injected, asis) && !meets(injected, injected.no_repair),
        _ => {
            !meets(injected, asis)
                && meets(injected, injected.repair)
                && !meets(injected, injected.no_repair)
        }
    }
}

/// How often each truth got each name.
fn matrix(scenarios: &[&Scenario]) -> (BTreeMap<(Cause, Cause), usize>, Vec<String>) {
    let mut counts = BTreeMap::new();
    let mut wrong = Vec::new();
    for scenario in scenarios {
        let windows = observe(scenario);
        let diagnosis = diagnose(
            &windows.now,
            Some(&windows.earlier),
            &scenario.objective,
            &scenario.deployment,
        );
        *counts.entry((scenario.truth, diagnosis.bottleneck)).or_default() += 1;
        if diagnosis.bottleneck != scenario.truth {
            wrong.push(format!(
                "{}: named {} ({:.2}); {}\n    {:?}\n    {:?}",
                scenario.name,
                diagnosis.bottleneck,
                diagnosis.score,
                diagnosis.explanation,
                diagnosis
                    .evidence
                    .iter()
                    .map(|e| format!(
                        "{}={:?}{}",
                        e.metric,
                        e.value,
                        if e.holds { "" } else { "!" }
                    ))
                    .collect::<Vec<_>>(),
                diagnosis.runner_up
            ));
        }
    }
    (counts, wrong)
}

#[test]
#[ignore = "a calibration run: prints the confusion matrix"]
fn confusion_matrix_of_injected_causes() {
    let injected = injections(1..6);
    let all: Vec<&Scenario> = injected
        .iter()
        .filter(|injected| {
            let holds = label_holds(injected);
            if !holds {
                println!("dropped: {} is not what it says", injected.scenario.name);
            }
            holds
        })
        .map(|injected| &injected.scenario)
        .collect();
    let (counts, wrong) = matrix(&all);
    let right: usize = counts.iter().filter(|((a, b), _)| a == b).map(|(_, n)| n).sum();
    for ((truth, named), count) in &counts {
        println!("{:>18} → {:<18} {count}", truth.to_string(), named.to_string());
    }
    for line in &wrong {
        println!("{line}");
    }
    println!("{right} of {} right ({:.1} %)", all.len(), 100.0 * right as f64 / all.len() as f64);
    assert!(right as f64 >= 0.95 * all.len() as f64);
}
