//! The table that says which backend serves which share of sessions.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A side of a rollout.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Arm {
    /// The version that serves everyone when nothing is rolled out.
    Stable,
    /// The version on trial.
    Canary,
}

/// A server that can take requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Backend {
    /// Unique among the backends of a deployment.
    pub id: String,
    /// `http://127.0.0.1:8100`.
    pub url: String,
}

/// One arm: its backends share its sessions evenly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ArmWeight {
    /// Which arm.
    pub arm: Arm,
    /// Its backends, at least one.
    pub backends: Vec<Backend>,
}

/// What the data plane obeys. A later generation replaces an earlier one; the same or an older one is refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TrafficTable {
    /// Grows by one with every change.
    pub generation: u64,
    /// Salt of the session hash: one per rollout, so that sessions are dealt anew each time.
    pub salt: String,
    /// The stable arm.
    pub stable: ArmWeight,
    /// The canary arm, if one is there.
    pub canary: Option<ArmWeight>,
    /// Share of sessions on the canary, 0–100.
    pub canary_percent: f64,
    /// The plane reverts to stable by itself when this long without a renewal [ms]; `None`: holds for ever.
    pub lease_ms: Option<u64>,
}
