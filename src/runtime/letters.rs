//! Letters: what the outside wants of a thread. Durable before anyone is woken, applied by the thread's owner.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Pauses;
use crate::base::{Millis, RunId};

/// A request to a thread.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "letter", rename_all = "snake_case")]
pub enum Letter {
    /// Start a run once the thread is free.
    Start {
        /// Id of the new run.
        run: RunId,
        /// Name of the graph.
        graph: String,
        /// Hash of the graph, which the store holds.
        graph_hash: String,
        /// Input by channel.
        input: BTreeMap<String, Value>,
        /// Read-only values.
        context: BTreeMap<String, Value>,
        /// Take back what the run it displaces wrote.
        #[serde(default)]
        rollback: bool,
        /// Written to channels that are no input, through their reducers.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        writes: BTreeMap<String, Value>,
        /// Begin on the values of this checkpoint instead of the newest; 0: on none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<u64>,
        /// Where it stops for somebody to look.
        #[serde(default, skip_serializing_if = "Pauses::is_empty")]
        pauses: Pauses,
        /// Most supersteps it may take, where the graph would let it take more.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        supersteps_max: Option<u64>,
    },
    /// Answer a question.
    Resume {
        /// Id of the interrupt.
        interrupt: String,
        /// The answer.
        answer: Value,
        /// Who answered.
        by: String,
    },
    /// Hand a value to whoever waits for it.
    Signal {
        /// Name.
        name: String,
        /// Value.
        payload: Value,
    },
    /// Stop the run that is going on, or take one back that is queued.
    Cancel {
        /// The run meant; a letter for another one is out of date.
        run: RunId,
        /// Who wants it.
        by: String,
    },
    /// Go on: run the failed tasks of the last run again, or let those that are held start.
    Retry {
        /// Who wants it.
        by: String,
    },
}

/// A letter in a thread's inbox.
#[derive(Debug, Clone, PartialEq)]
pub struct Posted {
    /// Position in the inbox, growing.
    pub id: u64,
    /// When it was posted.
    pub at: Millis,
    /// What it says.
    pub letter: Letter,
}
