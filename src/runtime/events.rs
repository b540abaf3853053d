//! The journal of a thread: what happened, in order, numbered by the store.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::base::{Millis, RunId};

/// Kinds of event. Names follow AG-UI where it has one.
pub mod kind {
    /// A run began. Data: `graph`, `hash`, `input`.
    pub const RUN_STARTED: &str = "RUN_STARTED";
    /// A node was planned and runs now, or at `at` [ms since epoch]. Data: `node`, `superstep`.
    pub const STEP_STARTED: &str = "STEP_STARTED";
    /// A node finished. Data: `node`, `superstep`, `writes` (channel → what it wrote), `usage`, `goto`, `error`.
    pub const STEP_FINISHED: &str = "STEP_FINISHED";
    /// A node had finished in a superstep that is abandoned; a fork goes on with it. Data: `node`, `superstep`, `result`.
    pub const STEP_KEPT: &str = "STEP_KEPT";
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
    pub kind: Cow<'static, str>,
    /// What the kind says.
    pub data: Data,
}

/// What an event says. Two kinds come with every superstep: they stay as they are until somebody reads or stores them.
#[derive(Debug, Clone)]
pub enum Data {
    /// JSON already.
    Json(Value),
    /// Of [`kind::STEP_STARTED`].
    Started {
        /// The node.
        node: String,
        /// The superstep it was planned in.
        superstep: u64,
        /// When it runs, unless at once.
        at: Option<Millis>,
    },
    /// Of [`kind::STEP_FINISHED`].
    Finished {
        /// The node.
        node: String,
        /// Channel and value, in the order written.
        writes: Vec<(String, Value)>,
        /// `usage`, `error` and `class`, where there are any.
        more: Option<Box<Map<String, Value>>>,
        /// The superstep it ran in.
        superstep: u64,
    },
}

impl Data {
    /// As JSON.
    pub fn into_json(self) -> Value {
        let mut data = Map::new();
        match self {
            Self::Json(value) => return value,
            Self::Started { node, superstep, at } => {
                data.insert("node".to_owned(), node.into());
                data.insert("superstep".to_owned(), superstep.into());
                if let Some(at) = at {
                    data.insert("at".to_owned(), at.0.into());
                }
            }
            Self::Finished { node, writes, more, superstep } => {
                data.insert("node".to_owned(), node.into());
                data.insert("writes".to_owned(), Value::Object(writes.into_iter().collect()));
                data.extend(more.map(|more| *more).unwrap_or_default());
                data.insert("superstep".to_owned(), superstep.into());
            }
        }
        Value::Object(data)
    }
}

impl From<Value> for Data {
    fn from(value: Value) -> Self {
        Self::Json(value)
    }
}

impl PartialEq for Data {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Json(a), Self::Json(b)) => a == b,
            _ => self.clone().into_json() == other.clone().into_json(),
        }
    }
}

impl Serialize for Data {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Json(value) => value.serialize(serializer),
            other => other.clone().into_json().serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(Self::Json)
    }
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
        let (kind, data) = (self.kind.into_owned(), self.data.into_json());
        Event { seq, at: self.at, run: self.run, kind, data }
    }
}
