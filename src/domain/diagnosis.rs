//! A named cause with its evidence.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What holds a deployment back. Numbers and definitions: the cause table of `docs/diagnosis.md`.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// 0: nothing; the targets are met or the deployment is idle.
    None,
    /// 2: KV blocks run out while seats are free.
    KvCapacity,
    /// 3: evicted requests are computed again and again.
    PreemptionThrash,
    /// 4: every seat taken, requests wait, KV half empty.
    Seats,
    /// 5: prefills queue behind the token budget of a step.
    PrefillBudget,
    /// 7: prefill compute is at the device's limit.
    PrefillCompute,
    /// 8: decode is at the memory bandwidth's limit.
    DecodeBandwidth,
    /// 11: more load than any config of this hardware can carry.
    Overload,
    /// The evidence names no cause.
    Unknown,
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::KvCapacity => "kv_capacity",
            Self::PreemptionThrash => "preemption_thrash",
            Self::Seats => "seats",
            Self::PrefillBudget => "prefill_budget",
            Self::PrefillCompute => "prefill_compute",
            Self::DecodeBandwidth => "decode_bandwidth",
            Self::Overload => "overload",
            Self::Unknown => "unknown",
        })
    }
}

/// One fact that speaks for (or against) a cause.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// What was measured, with its unit in the name: `running_mean`, `kv_cache_utilization_p95`.
    pub metric: String,
    /// The measured value; `null` is unknown.
    pub value: Option<f64>,
    /// The condition in words: `≥ 0.95 · max_num_seqs (7.6)`.
    pub expected: String,
    /// Whether the condition holds; an unknown value does not hold.
    pub holds: bool,
}

/// The second likeliest cause, and what tells it from the first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunnerUp {
    /// The cause.
    pub cause: Cause,
    /// Its share of conditions met, 0–1.
    pub score: f64,
    /// The metric that separates it from the first.
    pub separated_by: String,
}

/// The likeliest bottleneck of a deployment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Diagnosis {
    /// The cause.
    pub bottleneck: Cause,
    /// Share of its conditions met, 0–1.
    pub score: f64,
    /// Its conditions, each with the measured value.
    pub evidence: Vec<Evidence>,
    /// The second likeliest.
    pub runner_up: Option<RunnerUp>,
    /// The two lie within 0.15 of each other.
    pub ambiguous: bool,
    /// One or two sentences for a person.
    pub explanation: String,
}
