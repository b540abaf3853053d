//! What a run came to, in words and numbers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How an optimization stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It goes on, or waits for its turn.
    Running,
    /// A better config serves all traffic.
    Improved,
    /// Nothing was changed, for a stated reason.
    NoChange,
    /// A config was tried on users and taken back.
    RolledBack,
    /// It waits for a person's answer.
    Interrupted,
    /// The run failed.
    Failed,
    /// A graph that tunes nothing has run to its end.
    Done,
}

/// The words of a report. Its numbers are read from the run's state, not from these.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// One sentence: what was wrong and what came of it.
    pub headline: String,
    /// Two to five sentences: evidence, change, effect.
    pub summary: String,
    /// What a person could do next; may be empty.
    pub next_steps: Vec<String>,
}
