//! The journal of a thread: what happened, in order, numbered by the store.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::base::{Millis, RunId};

/// Kinds of event. Names follow AG-UI where it has one.
pub mod kind {
    /// A run began. Data: `graph`, `hash`, `input`.
    pub const RUN_STARTED: &str = "RUN_STARTED";
    /// A node was planned and runs now, or at `at` [ms since epoch]. Data: `node`, `superstep`.
    pub const STEP_STARTED: &str = "STEP_STARTED";
    /// A node finished. Data: `node`, `superstep`, `writes` (channel → what it wrote), `usage`, `error`.
    pub const STEP_FINISHED: &str = "STEP_FINISHED";
    /// A task says something while it runs: tool calls, progress. Data: `node`, `data`.
    pub const CUSTOM: &str = "CUSTOM";
    /// A run finished. Data: `output`.
    pub const RUN_FINISHED: &str = "RUN_FINISHED";
    /// A run failed. Data: `node`, `class`, `problem`.
    pub const RUN_ERROR: &str = "RUN_ERROR";
    /// A run was cancelled. Data: `by`.
    pub const RUN_CANCELLED: &str = "RUN_CANCELLED";
    /// A node asks a person. Data: `node`, `id`, `question`.
    pub const INTERRUPT: &str = "INTERRUPT";
    /// A question was answered. Data: `node`, `id`, `answer`, `by`.
    pub const RESUMED: &str = "RESUMED";
    /// A message came too late to matter. Data: `letter`, `problem`.
    pub const REFUSED: &str = "REFUSED";
    /// A node waits for a timer or a signal. Data: `node`, `wait`.
    pub const WAITING: &str = "WAITING";
    /// A timer rang or a signal came. Data: `node`, `woken`.
    pub const WOKEN: &str = "WOKEN";
    /// A node's answer was remembered: it did not run. Data: `node`.
    pub const REMEMBERED: &str = "REMEMBERED";
    /// An attempt failed and another follows. Data: `node`, `attempt`, `pause_ms`, `problem`.
    pub const RETRY: &str = "RETRY";
    /// Somebody changed the state by hand. Data: `values`, `as_node`, `goto`, `abandoned`, `by`.
    pub const STATE_UPDATED: &str = "STATE_UPDATED";
    /// A run goes on from an earlier checkpoint, here or of another thread. Data: `thread`, `seq`, `run`.
    pub const RUN_FORKED: &str = "RUN_FORKED";
    /// A thread moved to another version of its graph. Data: `from`, `to`, `version`, `run`, `changed`, `by`.
    pub const RUN_MIGRATED: &str = "RUN_MIGRATED";
    /// A limit was reached. Data: `limit`, `to`.
    pub const LIMIT_REACHED: &str = "LIMIT_REACHED";
}

/// An event that has no number yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NewEvent {
    /// When it happened.
    pub at: Millis,
    /// Run it belongs to.
    pub run: RunId,
    /// One of [`kind`].
    pub kind: String,
    /// What the kind says.
    pub data: Value,
}

/// One entry of a thread's journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Position in the thread's journal, from 1, without gaps.
    pub seq: u64,
    /// When it happened.
    pub at: Millis,
    /// Run it belongs to.
    pub run: RunId,
    /// One of [`kind`].
    pub kind: String,
    /// What the kind says.
    pub data: Value,
}

impl NewEvent {
    /// The event as number `seq` of its thread.
    pub fn numbered(self, seq: u64) -> Event {
        Event { seq, at: self.at, run: self.run, kind: self.kind, data: self.data }
    }
}
