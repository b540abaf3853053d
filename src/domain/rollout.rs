//! A rollout as data: its plan, where it stands, what it has seen.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Arm, Metric, Proposal};
use crate::base::{Millis, RolloutId};

/// What a guarded metric may do on the canary.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "kind", deny_unknown_fields)]
pub enum GuardRule {
    /// Not worse than stable: alarm beyond `tolerance`, promotion only when proven under `margin` (ratios, .10 and .15).
    NotWorse {
        /// Worse by more than this is evidence against the canary, 0–1.
        tolerance: f64,
        /// Non-inferiority margin of promotion, 0–1.
        margin: f64,
    },
    /// A declared trade: it may get worse than stable, within an absolute bound that at most `miss_ratio_max` may miss.
    Within {
        /// The bound [ms].
        limit_ms: f64,
        /// Largest allowed share of sessions beyond it, 0–1.
        miss_ratio_max: f64,
    },
}

/// One guarded metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Guard {
    /// TTFT or TPOT.
    pub metric: Metric,
    /// Its rule.
    pub rule: GuardRule,
}

/// How a rollout goes. Durations [ms].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RolloutPlan {
    /// Canary shares in order, the last is 100.
    pub steps_percent: Vec<f64>,
    /// Shortest time at one share.
    pub bake_time_ms: u64,
    /// Longest time at one share before a person is asked.
    pub step_time_max_ms: u64,
    /// Sessions the canary must have served at a share before a pass counts.
    pub sessions_min: u64,
    /// How long the old version stays warm after the last step.
    pub soak_ms: u64,
    /// Longest wait for in-flight requests of a drained version.
    pub drain_max_ms: u64,
    /// Fresh samples missing for this long freeze the rollout.
    pub metrics_lost_ms: u64,
    /// What is guarded besides errors.
    pub guards: Vec<Guard>,
}

/// Where a rollout stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "name", deny_unknown_fields)]
pub enum RolloutState {
    /// Recorded, nothing done.
    Planned,
    /// The deployment's lock is held.
    Locked,
    /// Checks before anything is started.
    Preflight,
    /// The new version is starting.
    Provisioning,
    /// The new version answers and is being warmed.
    Warming,
    /// The share of `step` is being applied.
    Shifting {
        /// Position in `steps_percent`.
        step: usize,
        /// Since when.
        since: Millis,
    },
    /// The share of `step` is applied and judged.
    Observing {
        /// Position in `steps_percent`.
        step: usize,
        /// Since when.
        since: Millis,
    },
    /// The new version serves all; the old one finishes what it has.
    Draining {
        /// Since when.
        since: Millis,
    },
    /// The old version stays warm in case.
    Soak {
        /// Since when.
        since: Millis,
    },
    /// Over: the new version is the stable one.
    Done,
    /// All traffic is going back to stable; the canary finishes what it has.
    RollingBack {
        /// Since when.
        since: Millis,
        /// Why.
        reason: String,
    },
    /// Over: the old version serves all.
    RolledBack {
        /// Why.
        reason: String,
    },
    /// A person must decide; weights stay.
    NeedsHuman {
        /// Why.
        reason: String,
    },
}

/// One share of a rollout, as it went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StepRecord {
    /// Canary share.
    pub percent: f64,
    /// Applied.
    pub started: Millis,
    /// Judged; `null` while it runs.
    pub ended: Option<Millis>,
    /// `passed`, `rolled_back`, `running` …
    pub verdict: String,
    /// Sessions of each arm that were evidence in this step.
    pub sessions: BTreeMap<Arm, u64>,
    /// TTFT p95 of each arm in this step [ms].
    pub ttft_p95_ms: BTreeMap<Arm, f64>,
}

/// The running value of one sequential test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EvidenceState {
    /// `errors`, `ttft_harm`, `ttft_promote` …
    pub test: String,
    /// ln of the e-value now.
    pub ln_e: f64,
    /// ln(1/α): it speaks once `ln_e` reaches this.
    pub ln_threshold: f64,
    /// Sessions it has seen.
    pub sessions: u64,
}

/// Who approved, and on what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// Who decided to go: a person's name, or `--yes`.
    pub approved_by: String,
    /// The model that proposed it.
    pub model: String,
}

/// A rollout as everyone outside sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RolloutStatus {
    /// The rollout.
    pub id: RolloutId,
    /// Deployment.
    pub deployment: String,
    /// What is rolled out.
    pub proposal: Proposal,
    /// How.
    pub plan: RolloutPlan,
    /// Who decided that it may go.
    #[serde(default)]
    pub provenance: Option<Provenance>,
    /// Where it stands.
    pub state: RolloutState,
    /// Why it stands still while its state is unchanged; `null` while it moves.
    #[serde(default)]
    pub paused: Option<String>,
    /// Canary share in force, 0–100.
    pub canary_percent: f64,
    /// Nothing more will happen by itself.
    pub finished: bool,
    /// Every step so far.
    pub steps: Vec<StepRecord>,
    /// Every sequential test.
    pub evidence: Vec<EvidenceState>,
    /// Requests that failed while weights moved, both arms.
    pub requests_failed: u64,
    /// Streams cut while weights moved, both arms.
    pub streams_cut: u64,
    /// Started.
    pub started: Millis,
    /// Last change.
    pub updated: Millis,
}
