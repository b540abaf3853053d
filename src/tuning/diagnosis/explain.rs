//! A diagnosis in one or two plain sentences with its numbers.

use super::signals::Signals;
use super::targets::TargetStatus;
use crate::domain::{Cause, Diagnosis};
use crate::tuning::wording::short;

/// What holds it back, by which numbers; then the missed target, or what keeps the answer uncertain.
pub fn explain(
    diagnosis: &Diagnosis,
    closest: Cause,
    signals: &Signals,
    targets: &[TargetStatus],
) -> String {
    let first = match diagnosis.bottleneck {
        Cause::None => none(signals, targets),
        Cause::Unknown => unknown(diagnosis, closest),
        cause => format!("{}.", cause_sentence(cause, signals)),
    };
    let mut sentences = vec![first];
    if diagnosis.bottleneck != Cause::None {
        sentences.extend(target_sentence(targets));
        sentences.extend(doubt(diagnosis));
    }
    sentences.extend(contradiction(signals));
    sentences.join(" ")
}

fn none(s: &Signals, targets: &[TargetStatus]) -> String {
    if targets.is_empty() {
        let running = number(s.running_mean);
        return format!("Nothing to do: {running} requests run on average and none wait.");
    }
    let facts: Vec<&str> = targets.iter().map(|target| target.fact.as_str()).collect();
    format!("Every target is met: {}.", facts.join("; "))
}

fn unknown(diagnosis: &Diagnosis, closest: Cause) -> String {
    let met = diagnosis.evidence.iter().filter(|condition| condition.holds).count();
    let all = diagnosis.evidence.len();
    let failing: Vec<String> = diagnosis
        .evidence
        .iter()
        .filter(|condition| !condition.holds)
        .map(|condition| match condition.value {
            Some(value) => {
                format!("{} is {}, not {}", condition.metric, short(value), condition.expected)
            }
            None => format!("{} is not known", condition.metric),
        })
        .collect();
    format!(
        "The evidence names no cause; the closest, {closest}, meets {met} of {all} conditions ({}).",
        failing.join("; ")
    )
}

fn cause_sentence(cause: Cause, s: &Signals) -> String {
    let (running, seats, waiting) = (number(s.running_p95), number(s.seats), number(s.waiting_p95));
    let kv = s.kv_p95.map_or("of unknown use".to_owned(), |kv| format!("{:.0} % full", 100.0 * kv));
    match cause {
        Cause::KvCapacity => format!(
            "KV blocks run out: the cache is {kv} with {running} of {seats} seats taken, and \
             {waiting} requests wait"
        ),
        Cause::PreemptionThrash => format!(
            "Evicted requests are computed again: {} of the device's time goes into repeats, because \
             {seats} seats are allowed and the KV cache carries about {}",
            percent(s.recompute_share),
            number(s.seats_by_kv)
        ),
        Cause::Seats => format!(
            "All seats are taken: {running} of {seats} run while {waiting} requests wait, and the \
             KV cache is {kv}"
        ),
        Cause::PrefillBudget => format!(
            "Prefills queue behind the token budget of a step: steps carry {} of {} tokens, and \
             only {} of such a step is spent computing",
            number(s.iteration_tokens_p90),
            number(s.token_budget),
            percent(s.full_step_efficiency)
        ),
        Cause::PrefillCompute => format!(
            "Prefill compute is at its limit: arriving prompts need {} of what the device can \
             compute",
            percent(s.prefill_share)
        ),
        Cause::DecodeBandwidth => format!(
            "Decode is bound by memory bandwidth: the mean gap between tokens is {} ms where \
             weights and KV alone explain {} ms, at a batch of {} below the ridge of {}",
            number(s.itl_mean_ms),
            number(s.decode_step_ms.zip(s.decode_memory_part).map(|(step, part)| step * part)),
            number(s.running_mean),
            number(s.ridge_batch)
        ),
        Cause::Overload => format!(
            "More load arrives than this hardware can carry: {} requests/s come, {} finish, and \
             even at the best batch the device would need {} of its time; tuning cannot fix that, \
             more replicas or less load can",
            number(s.arrival_rps),
            number(s.finished_rps),
            percent(s.utilization)
        ),
        Cause::None | Cause::Unknown => String::new(),
    }
}

fn target_sentence(targets: &[TargetStatus]) -> Option<String> {
    let missed: Vec<&str> = targets
        .iter()
        .filter(|target| target.met == Some(false))
        .map(|target| target.fact.as_str())
        .collect();
    (!missed.is_empty()).then(|| format!("Missed: {}.", missed.join("; ")))
}

fn doubt(diagnosis: &Diagnosis) -> Option<String> {
    let second = diagnosis.runner_up.as_ref().filter(|_| diagnosis.ambiguous)?;
    (diagnosis.bottleneck != Cause::Unknown).then(|| {
        format!(
            "{} is nearly as likely; `{}` over another window tells them apart.",
            second.cause, second.separated_by
        )
    })
}

/// Little's law on the page itself: a batch that throughput and latencies cannot explain.
fn contradiction(s: &Signals) -> Option<String> {
    // While queue or batch change, finished requests say little about those that run.
    let steady = s.queue_grows() == Some(false)
        && s.finished_rps.zip(s.arrival_rps).is_some_and(|(x, rate)| (x / rate - 1.0).abs() < 0.05);
    let (seen, expected) = s.running_mean.zip(s.running_expected).filter(|_| steady)?;
    let off = (seen - expected).abs() / expected.max(1.0);
    (off > 0.5).then(|| {
        format!(
            "The page contradicts itself: {} requests run, throughput and latencies explain {}.",
            short(seen),
            short(expected)
        )
    })
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(|| "an unknown number of".to_owned(), short)
}

fn percent(value: Option<f64>) -> String {
    value.map_or_else(|| "an unknown share".to_owned(), |value| format!("{:.0} %", 100.0 * value))
}
