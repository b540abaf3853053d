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

type Change = fn(&mut ReplicaSpec);

const SAME: Change = |_| {};
const MORE_SEATS: Change =
    |spec| spec.config.max_num_seqs = 1024.min(spec.config.max_num_batched_tokens);
/// Tokens of a chat: mean and p95, in and out.
const CHAT: [(f64, f64); 2] = [(700.0, 3000.0), (150.0, 500.0)];

/// The scenarios of one device and seed, as they are made.
struct Making<'a> {
    device: &'a Device,
    seed: u64,
    all: Vec<Injected>,
}

impl Making<'_> {
    /// The slower of what the device does, against an H100.
    fn slow(&self) -> f64 {
        self.device.compute.min(self.device.memory)
    }

    fn add(
        &mut self,
        truth: Cause,
        knobs: &[(Knob, KnobValue)],
        (profile, objective): (WorkloadProfile, Objective),
        [repair, no_repair]: [Change; 2],
    ) {
        let mut deployment = gpu_deployment(knobs);
        deployment.config = deployment.config.with(Knob::MaxModelLen, int(16_384));
        deployment.gpu = Some(self.device.gpu.clone());
        let name = format!(
            "{truth} {} {:.2} rps #{}",
            self.device.gpu.name, profile.request_rate_rps, self.seed
        );
        let scenario = Scenario { name, truth, deployment, profile, objective, seed: self.seed };
        self.all.push(Injected { scenario, repair, no_repair });
    }
}

fn ttft(ms: f64) -> Objective {
    objective(&[(Metric::Ttft, ms), (Metric::Tpot, 400.0)])
}

fn of_device(device: &Device, seed: u64) -> Vec<Injected> {
    let mut making = Making { device, seed, all: Vec::new() };
    idle_and_short_of_seats(&mut making);
    short_of_kv(&mut making);
    thrashing(&mut making);
    bound_by_prefill(&mut making);
    bound_by_decode(&mut making);
    overloaded(&mut making);
    making.all
}

fn idle_and_short_of_seats(making: &mut Making<'_>) {
    let slow = making.slow();
    let [chat_in, chat_out] = CHAT;
    for share in [0.15, 0.3, 0.45] {
        let asked = (load(20.0 * share * slow, chat_in, chat_out), ttft(5000.0));
        making.add(Cause::None, &[], asked, [SAME, SAME]);
    }
    for (seats, rps) in [(4, 3.5), (8, 6.0), (16, 10.0)] {
        let knobs = [(Knob::MaxNumSeqs, int(seats))];
        let asked = (load(rps * slow, chat_in, chat_out), ttft(1000.0 / slow));
        let bigger_budget: Change = |spec| spec.config.max_num_batched_tokens = 16_384;
        making.add(Cause::Seats, &knobs, asked, [MORE_SEATS, bigger_budget]);
    }
}

fn short_of_kv(making: &mut Making<'_>) {
    let (slow, memory) = (making.slow(), making.device.memory);
    let [chat_in, chat_out] = CHAT;
    let all_blocks: Change = |spec| spec.config.num_gpu_blocks_override = None;
    for (rps, blocks) in [(8.0, 1024), (10.0, 1300)] {
        let knobs = [(Knob::NumGpuBlocksOverride, int(blocks))];
        let asked = (load(rps * slow, chat_in, chat_out), ttft(1000.0 / slow));
        making.add(Cause::KvCapacity, &knobs, asked, [all_blocks, |spec| cap_seats(spec, 1300.0)]);
    }
    for (rps, blocks) in [(4.0, 1100), (5.0, 1500)] {
        let knobs = [(Knob::NumGpuBlocksOverride, int(blocks))];
        let profile = load(rps * memory, (500.0, 900.0), (700.0, 1200.0));
        let asked = (profile, ttft(1500.0 / memory));
        making.add(Cause::KvCapacity, &knobs, asked, [all_blocks, |spec| cap_seats(spec, 900.0)]);
    }
}

/// Long prompts are let in piece by piece, and evicted before they are done.
fn thrashing(making: &mut Making<'_>) {
    let compute = making.device.compute;
    for (input, output, blocks, rps, e2e_ms) in [
        (12_000.0, 200.0, 3000, 0.6, 20_000.0),
        (12_000.0, 200.0, 3000, 0.9, 30_000.0),
        (12_000.0, 200.0, 6000, 0.9, 20_000.0),
        (8000.0, 400.0, 6000, 1.5, 35_000.0),
        (8000.0, 400.0, 3000, 0.8, 60_000.0),
    ] {
        let knobs =
            [(Knob::NumGpuBlocksOverride, int(blocks)), (Knob::MaxNumBatchedTokens, int(8192))];
        let profile = load(rps * compute, (input, 1.4 * input), (output, 1.4 * output));
        let asked = (profile, objective(&[(Metric::E2e, e2e_ms / compute)]));
        let changes: [Change; 2] = [|spec| cap_seats(spec, 10_000.0), MORE_SEATS];
        making.add(Cause::PreemptionThrash, &knobs, asked, changes);
    }
}

fn bound_by_prefill(making: &mut Making<'_>) {
    let (slow, memory, compute) = (making.slow(), making.device.memory, making.device.compute);
    for (budget, rps) in [(64, 9.2), (64, 9.8), (128, 18.5), (128, 20.0)] {
        let knobs = [(Knob::MaxNumSeqs, int(64)), (Knob::MaxNumBatchedTokens, int(budget))];
        let profile = load(rps * memory, (900.0, 2800.0), (20.0, 60.0));
        let asked = (profile, ttft(1500.0 / slow));
        let changes: [Change; 2] = [
            |spec| spec.config.max_num_batched_tokens = 8192,
            |spec| spec.config.max_num_seqs = spec.config.max_num_batched_tokens,
        ];
        making.add(Cause::PrefillBudget, &knobs, asked, changes);
    }
    for share in [0.86, 0.95] {
        let rps = share * 31_000.0 * compute / 4850.0;
        let asked = (load(rps, (4000.0, 9000.0), (16.0, 40.0)), ttft(700.0 / compute));
        let changes: [Change; 2] =
            [|spec| spec.gpu.peak_flops *= 2.0, |spec| spec.config.max_num_batched_tokens = 16_384];
        making.add(Cause::PrefillCompute, &[], asked, changes);
    }
}

fn bound_by_decode(making: &mut Making<'_>) {
    let (slow, memory) = (making.slow(), making.device.memory);
    for rps in [0.4, 1.0] {
        let slo = objective(&[(Metric::Ttft, 3000.0 / slow), (Metric::Tpot, 5.5 / memory)]);
        let asked = (load(rps * memory, (300.0, 900.0), (300.0, 800.0)), slo);
        let changes: [Change; 2] =
            [|spec| spec.gpu.memory_bytes_per_s *= 2.0, |spec| spec.gpu.peak_flops *= 2.0];
        making.add(Cause::DecodeBandwidth, &[], asked, changes);
    }
}

fn overloaded(making: &mut Making<'_>) {
    let slow = making.slow();
    let [chat_in, chat_out] = CHAT;
    let everything: Change = |spec| {
        spec.config.gpu_memory_utilization = 0.95;
        spec.config.max_num_batched_tokens = 16_384;
        spec.config.max_num_seqs = 1024;
    };
    for factor in [1.6, 2.5] {
        let asked = (load(26.0 * factor * slow, chat_in, chat_out), ttft(1000.0 / slow));
        making.add(Cause::Overload, &[], asked, [SAME, everything]);
    }
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
    // The thresholds were set on seeds 1 to 5.
    let injected = injections(6..11);
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
