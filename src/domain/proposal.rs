//! A config worth trying, and what trying it showed.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Change, Knob, RequestStats, ServingConfig};
use crate::base::TrialId;

/// What the simulator expects of a config at today's load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Prediction {
    /// Time to first token, p95 [ms].
    pub ttft_p95_ms: f64,
    /// Time per output token, p95 [ms].
    pub tpot_p95_ms: f64,
    /// E2E latency, p95 [ms].
    pub e2e_p95_ms: f64,
    /// Requests per second that meet every target.
    pub goodput_rps: f64,
    /// Generated tokens per second.
    pub throughput_tok_s: f64,
}

/// A config to try.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Proposal {
    /// Short name, unique in its run: `seats-64`.
    pub name: String,
    /// Deployment it is for.
    pub deployment: String,
    /// The whole config, not only what changes.
    pub config: ServingConfig,
    /// What changes against the running config.
    pub change: BTreeMap<Knob, Change>,
    /// Why, in one sentence.
    pub rationale: String,
    /// Expected outcome; `null` without a model of the hardware.
    pub prediction: Option<Prediction>,
}

/// How a trial ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TrialOutcome {
    /// Measured, and better than the running config by the objective's measure.
    Accepted,
    /// Measured, and not good enough.
    Rejected,
    /// The config is not legal, or the engine did not start with it.
    FailedToStart,
    /// Somebody else runs the deployment: nothing was tried, and what they would do is written down.
    Advised,
}

/// One config under load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Trial {
    /// The trial.
    pub id: TrialId,
    /// What was tried.
    pub proposal: Proposal,
    /// Its change in the engine's own flags, a line each as a diff shows it: `- --max-num-seqs 4`.
    #[serde(default)]
    pub flags: Vec<String>,
    /// How it ended.
    pub outcome: TrialOutcome,
    /// The running config under the same load, same window.
    pub baseline: Option<RequestStats>,
    /// The candidate.
    pub measured: Option<RequestStats>,
    /// Offered load [requests/s].
    pub offered_rps: f64,
    /// Why it was accepted or rejected, one fact a line.
    pub reasons: Vec<String>,
    /// Objective's gain over the baseline, 0.3 is 30 % better; `null` when not measured.
    pub gain: Option<f64>,
}
