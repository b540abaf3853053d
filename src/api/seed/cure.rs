//! A proposed config in the seed's words.

use serde_json::{Map, Value, json};

use crate::domain::{Knob, Prediction, Proposal};

/// What a knob belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Family {
    /// Where keys and values of earlier tokens lie.
    KvCache,
    /// How precise weights are.
    Quantization,
    /// What is computed together.
    Batching,
    /// How much of the device is used, and for what.
    Memory,
    /// Over how many devices.
    Parallelism,
}

impl Family {
    /// Every family.
    pub(super) const ALL: [Self; 5] =
        [Self::KvCache, Self::Quantization, Self::Batching, Self::Memory, Self::Parallelism];

    /// Its name on the wire.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::KvCache => "kv_cache",
            Self::Quantization => "quantization",
            Self::Batching => "batching",
            Self::Memory => "memory",
            Self::Parallelism => "parallelism",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::KvCache => "KV cache",
            Self::Quantization => "Quantization",
            Self::Batching => "Batching",
            Self::Memory => "Memory",
            Self::Parallelism => "Parallelism",
        }
    }

    fn of(knob: Knob) -> Self {
        match knob {
            Knob::KvCacheDtype
            | Knob::BlockSize
            | Knob::EnablePrefixCaching
            | Knob::NumGpuBlocksOverride
            | Knob::CpuKvCacheSpaceGib => Self::KvCache,
            Knob::Quantization => Self::Quantization,
            Knob::GpuMemoryUtilization | Knob::MaxModelLen | Knob::EnforceEager => Self::Memory,
            Knob::TensorParallelSize | Knob::CpuOmpThreadsBind => Self::Parallelism,
            _ => Self::Batching,
        }
    }
}

/// What a proposal changes most of.
pub(super) fn family(proposal: &Proposal) -> Family {
    let of = |family: &Family| {
        proposal.change.keys().filter(|knob| Family::of(**knob) == *family).count()
    };
    // The last of the largest wins: the order is turned so that ties go to the first family.
    Family::ALL.into_iter().rev().max_by_key(of).unwrap_or(Family::Batching)
}

/// A proposal; `incumbent`: what the simulator says of the running config.
pub(super) fn optimization(
    proposal: &Proposal,
    incumbent: Option<&Prediction>,
    declared: bool,
) -> Value {
    let expected = proposal.prediction.as_ref().zip(incumbent);
    json!({
        "type": family(proposal).name(),
        "title": title(proposal),
        "description": proposal.rationale,
        "config_changes": changes(proposal),
        "expected_impact": expected.map(|(after, before)| impact(gain(before, after))),
        "estimated_improvement": expected.map(|(after, before)| improvement(before, after)),
        "implementation_effort": effort(proposal.change.len()),
        "risks": risks(proposal),
        "prerequisites": prerequisites(declared),
    })
}

/// A proposal in a few words.
pub(super) fn title(proposal: &Proposal) -> String {
    let knobs: Vec<&str> = proposal.change.keys().map(|knob| knob.name()).collect();
    format!("{}: {}", family(proposal).title(), knobs.join(", "))
}

fn changes(proposal: &Proposal) -> Vec<Value> {
    let one = |(knob, change): (&Knob, &crate::domain::Change)| {
        json!({
            "parameter": knob, "current_value": change.from, "recommended_value": change.to,
            "reason": proposal.rationale,
        })
    };
    proposal.change.iter().map(one).collect()
}

/// The values that the first proposal of a family sets; `None`: no proposal is of it.
pub(super) fn config_of(proposals: &[Proposal], family: Family) -> Option<Map<String, Value>> {
    let of = |proposal: &Proposal| {
        let own = proposal.change.iter().filter(|(knob, _)| Family::of(**knob) == family);
        let set: Map<String, Value> =
            own.map(|(knob, change)| (knob.name().to_owned(), json!(change.to))).collect();
        (!set.is_empty()).then_some(set)
    };
    proposals.iter().find_map(of)
}

/// What the simulator expects of a change, before and after.
pub(super) fn improvement(before: &Prediction, after: &Prediction) -> String {
    let percent = |before: f64, after: f64| match before > 0.0 {
        true => format!("{:+.0} %", (after / before - 1.0) * 100.0),
        false => "from nothing".to_owned(),
    };
    format!(
        "simulated: TTFT p95 {} ({:.0} → {:.0} ms), throughput {} ({:.0} → {:.0} tokens/s)",
        percent(before.ttft_p95_ms, after.ttft_p95_ms),
        before.ttft_p95_ms,
        after.ttft_p95_ms,
        percent(before.throughput_tok_s, after.throughput_tok_s),
        before.throughput_tok_s,
        after.throughput_tok_s,
    )
}

/// The larger of the gains in TTFT and in throughput, 1 is twice as good.
fn gain(before: &Prediction, after: &Prediction) -> f64 {
    let ratio = |large: f64, small: f64| if small > 0.0 { large / small - 1.0 } else { 0.0 };
    ratio(before.ttft_p95_ms, after.ttft_p95_ms)
        .max(ratio(after.throughput_tok_s, before.throughput_tok_s))
}

fn impact(gain: f64) -> &'static str {
    match gain {
        gain if gain >= 1.0 => "critical",
        gain if gain >= 0.3 => "high",
        gain if gain >= 0.1 => "medium",
        _ => "low",
    }
}

/// Every change is a new server; more knobs are more to understand.
fn effort(knobs: usize) -> &'static str {
    match knobs {
        0 | 1 => "low",
        2 | 3 => "medium",
        _ => "high",
    }
}

fn risks(proposal: &Proposal) -> Vec<&'static str> {
    let mut risks = vec!["the servers are replaced: a new one starts cold"];
    if proposal.change.contains_key(&Knob::Quantization)
        || proposal.change.contains_key(&Knob::KvCacheDtype)
    {
        risks.push("answers may change: weights or KV cache lose precision");
    }
    if proposal.change.contains_key(&Knob::GpuMemoryUtilization) {
        risks.push("less memory is left to other programs on the device");
    }
    risks
}

fn prerequisites(declared: bool) -> Vec<&'static str> {
    match declared {
        true => Vec::new(),
        false => vec!["somebody who can restart the server: it is no declared deployment"],
    }
}
