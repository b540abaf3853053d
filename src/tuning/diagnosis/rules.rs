//! The cause table: for each cause, the conditions that a window must meet.
//!
//! Numbers and sources: `docs/diagnosis.md`. Thresholds are calibrated by injecting each cause in the simulator.

use super::evidence::{above, at_least, below, stated};
use super::signals::Signals;
use super::targets::{TargetStatus, all_met};
use crate::domain::{Cause, Evidence, Metric};

/// Causes in the order in which they are tried; the first whose every condition holds wins.
///
/// Overload comes first: when no config can carry the load, what fills up first is only its symptom. Thrash comes before KV
/// capacity, whose every sign it shows.
pub const ORDER: [Cause; 7] = [
    Cause::Overload,
    Cause::PreemptionThrash,
    Cause::KvCapacity,
    Cause::Seats,
    Cause::PrefillBudget,
    Cause::PrefillCompute,
    Cause::DecodeBandwidth,
];

/// The conditions of `cause` in one window.
pub fn conditions(cause: Cause, signals: &Signals, targets: &[TargetStatus]) -> Vec<Evidence> {
    match cause {
        Cause::None => none(signals, targets),
        Cause::Overload => overload(signals),
        Cause::KvCapacity => kv_capacity(signals),
        Cause::PreemptionThrash => preemption_thrash(signals),
        Cause::Seats => seats(signals),
        Cause::PrefillBudget => prefill_budget(signals, targets),
        Cause::PrefillCompute => prefill_compute(signals, targets),
        Cause::DecodeBandwidth => decode_bandwidth(signals, targets),
        Cause::Unknown => Vec::new(),
    }
}

/// How many of a cause's conditions, from the first, must hold before it may be named at all: KV capacity with an empty cache
/// is not KV capacity, whatever else fits.
pub fn required(cause: Cause) -> usize {
    match cause {
        Cause::Overload | Cause::PrefillBudget => 3,
        Cause::KvCapacity | Cause::Seats | Cause::PrefillCompute | Cause::DecodeBandwidth => 2,
        Cause::PreemptionThrash | Cause::None | Cause::Unknown => 1,
    }
}

/// Causes that are only symptoms once `cause` is proven: they are no rivals.
pub fn explains(cause: Cause, other: Cause) -> bool {
    match cause {
        Cause::None | Cause::Overload => true,
        Cause::PreemptionThrash => other == Cause::KvCapacity,
        _ => false,
    }
}

/// 0: the bounds are met and nothing piles up behind the requests that did finish; or nobody is there.
fn none(s: &Signals, targets: &[TargetStatus]) -> Vec<Evidence> {
    let idle = s.running_mean.zip(s.waiting_p95).map(|(run, wait)| run < 2.0 && wait < 1.0);
    let met = match targets.is_empty() {
        true => idle,
        false => all_met(targets),
    };
    let met_share = targets.iter().filter(|target| target.met == Some(true)).count() as f64
        / targets.len().max(1) as f64;
    let expected = match targets.is_empty() {
        true => "fewer than 2 running and none waiting",
        false => "every target met",
    };
    let value = if targets.is_empty() { s.running_mean } else { Some(met_share) };
    let name = if targets.is_empty() { "running_mean" } else { "targets_met_ratio" };
    vec![
        stated(name, value, expected, met),
        // Requests that finish look healthy while others still wait: the survivors' trap.
        stated(
            "waiting_growth_per_s",
            s.waiting_growth_per_s,
            "no growing queue",
            Some(s.queue_grows() != Some(true)),
        ),
    ]
}

/// 11: the queue grows, the output does not, and the device would be busy all the time at its best batch.
fn overload(s: &Signals) -> Vec<Evidence> {
    let flat = s.finished_rps.zip(s.arrival_rps).map(|(x, rate)| x < 0.95 * rate);
    let rate = s.arrival_rps.map(|rate| 0.95 * rate);
    let mut finished = below("finished_rps", s.finished_rps, rate, "0.95 · arrivals");
    finished.holds = flat.unwrap_or(false);
    vec![
        stated("waiting_growth_per_s", s.waiting_growth_per_s, "a growing queue", s.queue_grows()),
        finished,
        above("utilization_at_best_batch", s.utilization, Some(1.0), "no config has the time"),
    ]
}

/// 2: blocks run out while seats are free.
fn kv_capacity(s: &Signals) -> Vec<Evidence> {
    let waits = s.waiting_p95.map(|waiting| waiting >= 1.0);
    let evicts = s.preemptions_per_request.map(|preemptions| preemptions > 0.01);
    // The first scrapes of an exhaustion show no preemption yet, and later ones may show no queue.
    let starved = stated(
        "waiting_p95",
        s.waiting_p95,
        "≥ 1, or preemptions > 0.01 per request",
        waits.or(evicts).map(|_| waits == Some(true) || evicts == Some(true)),
    );
    vec![
        above("kv_cache_utilization_p95", s.kv_p95, Some(0.92), ""),
        starved,
        below("running_p95", s.running_p95, s.seats.map(|n| 0.95 * n), "0.95 · max_num_seqs"),
    ]
}

/// 3: more requests are let in than the cache carries, and their work is thrown away.
///
/// Waste is measured in time, not tokens: repeating a third of all tokens may cost a tenth of the time, and then capping the
/// seats gains nothing.
fn preemption_thrash(s: &Signals) -> Vec<Evidence> {
    vec![
        above("recompute_share", s.recompute_share, Some(0.25), "of the device's time"),
        above("kv_cache_utilization_p95", s.kv_p95, Some(0.85), ""),
        above("max_num_seqs", s.seats, s.seats_by_kv.map(|n| 0.9 * n), "0.9 · KV seats"),
    ]
}

/// 4: every seat taken while the KV cache has room.
fn seats(s: &Signals) -> Vec<Evidence> {
    vec![
        at_least("running_p95", s.running_p95, s.seats.map(|n| 0.95 * n), "0.95 · max_num_seqs"),
        at_least("waiting_p95", s.waiting_p95, Some(1.0), ""),
        below("kv_cache_utilization_p95", s.kv_p95, Some(0.8), ""),
    ]
}

/// 5: steps are full, and a step of that size waits for weights and host rather than compute.
fn prefill_budget(s: &Signals, targets: &[TargetStatus]) -> Vec<Evidence> {
    vec![
        at_least(
            "iteration_tokens_p90",
            s.iteration_tokens_p90,
            s.token_budget.map(|budget| 0.9 * budget),
            "0.9 · max_num_batched_tokens",
        ),
        below("full_step_efficiency", s.full_step_efficiency, Some(0.8), "of a full step computes"),
        symptom(targets, &[Metric::Ttft, Metric::E2e], "TTFT or E2E target missed"),
    ]
}

/// 7: prompts arrive nearly as fast as the device can compute them.
fn prefill_compute(s: &Signals, targets: &[TargetStatus]) -> Vec<Evidence> {
    vec![
        at_least("prefill_share", s.prefill_share, Some(0.65), "of the device's prefill rate"),
        symptom(targets, &[Metric::Ttft, Metric::E2e], "TTFT or E2E target missed"),
        at_least("prefill_part", s.prefill_part, Some(0.6), "of the load's device time"),
    ]
}

/// 8: a decode step takes as long as memory needs to deliver weights and KV.
fn decode_bandwidth(s: &Signals, targets: &[TargetStatus]) -> Vec<Evidence> {
    let near = s.itl_mean_ms.zip(s.decode_step_ms).map(|(itl, step)| {
        let ratio = itl / step;
        (0.75..=1.3).contains(&ratio)
    });
    let step = s.decode_step_ms.map_or("the modelled step".to_owned(), |ms| format!("{ms:.1} ms"));
    vec![
        stated("itl_mean_ms", s.itl_mean_ms, &format!("within 30 % of {step}"), near),
        symptom(targets, &[Metric::Tpot, Metric::Itl, Metric::E2e], "a decode target missed"),
        at_least("decode_memory_part", s.decode_memory_part, Some(0.5), "of the step"),
        below("running_mean", s.running_mean, s.ridge_batch, "the ridge batch"),
    ]
}

/// The name of a missed target in the evidence. Whether it is missed is asked of the newer window alone.
pub const TARGET: &str = "target_ms";

fn symptom(targets: &[TargetStatus], metrics: &[Metric], expected: &str) -> Evidence {
    let value = targets.iter().find(|target| metrics.contains(&target.target.metric));
    let value = value.and_then(|target| target.value_ms);
    // Without bounds every latency is worth improving.
    let holds = if targets.is_empty() { Some(true) } else { missed(targets, metrics) };
    stated(TARGET, value, expected, holds)
}

/// Whether a bound on one of `metrics` was missed; `Some(false)` when there is no such bound.
fn missed(targets: &[TargetStatus], metrics: &[Metric]) -> Option<bool> {
    let of_metric: Vec<_> =
        targets.iter().filter(|target| metrics.contains(&target.target.metric)).collect();
    if of_metric.iter().any(|target| target.met == Some(false)) {
        return Some(true);
    }
    of_metric.iter().all(|target| target.met.is_some()).then_some(false)
}
