//! What is kept of threads and runs beside their checkpoints: what callers said of them, and how runs ended.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::protocol::{API_VERSION, LANGGRAPH_VERSION};
use crate::agent::ThreadState;
use crate::api::security::origin_of;
use crate::base::{Millis, Problem, RunId, ThreadId};

/// What is kept of a thread.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ThreadRecord {
    pub(super) thread: ThreadId,
    pub(super) created: Millis,
    pub(super) updated: Millis,
    pub(super) state_updated: Millis,
    pub(super) metadata: Map<String, Value>,
    /// Runs that have not ended, oldest first.
    #[serde(default)]
    pub(super) open: Vec<RunId>,
    /// Whether a run was made here.
    #[serde(default)]
    pub(super) ran: bool,
    /// Made as a copy.
    #[serde(default)]
    pub(super) copied: bool,
    /// Forgotten when its run ends.
    #[serde(default)]
    pub(super) temporary: bool,
    /// A place in its journal before which nothing is of interest to new runs.
    #[serde(default)]
    pub(super) journal_to: u64,
    /// Checkpoints of runs that were rolled back: after the first of each pair, up to the second. To those who look at the
    /// thread's states they are gone.
    #[serde(default)]
    pub(super) rolled_back: Vec<(u64, u64)>,
}

impl ThreadRecord {
    /// A thread that is made now.
    pub(super) fn new(thread: ThreadId, metadata: Map<String, Value>, now: Millis) -> Self {
        Self {
            thread,
            created: now,
            updated: now,
            state_updated: now,
            metadata,
            open: Vec::new(),
            ran: false,
            copied: false,
            temporary: false,
            journal_to: 0,
            rolled_back: Vec::new(),
        }
    }

    /// A thread that was made elsewhere.
    pub(super) fn foreign(thread: ThreadId, state: Option<&ThreadState>) -> Self {
        let metadata = state.map(|state| {
            let id = super::protocol::assistant_id(&state.graph);
            [("graph_id", state.graph.clone()), ("assistant_id", id)]
        });
        let metadata = metadata.into_iter().flatten();
        let metadata = metadata.map(|(key, value)| (key.to_owned(), value.into())).collect();
        let mut record = Self::new(thread, metadata, state.map_or(Millis(0), |s| s.created));
        if let Some(state) = state {
            (record.updated, record.state_updated) = (state.updated, state.updated);
            record.ran = true;
        }
        record
    }
}

/// What is kept of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct RunRecord {
    pub(super) id: RunId,
    pub(super) thread: ThreadId,
    pub(super) assistant: String,
    pub(super) graph: String,
    pub(super) metadata: Map<String, Value>,
    /// What was asked for, as it is shown.
    pub(super) kwargs: Value,
    /// What was asked for, as it is done.
    pub(super) order: Order,
    pub(super) multitask: Strategy,
    pub(super) created: Millis,
    pub(super) updated: Millis,
    /// Starts then; `None`: at once.
    pub(super) due: Option<Millis>,
    /// The execution behind it; `None`: it has not been handed over yet.
    pub(super) execution: Option<Execution>,
    pub(super) ended: Option<Ended>,
}

/// Where a run is found in the thread's own records.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Execution {
    /// The run as the runtime knows it. One that is resumed is several runs to LangGraph.
    pub(super) run: RunId,
    /// It lies behind this place in the journal.
    pub(super) journal_from: u64,
    /// Its checkpoints come after this one.
    pub(super) seq_from: u64,
}

/// What a run does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub(super) struct Order {
    pub(super) input: Option<Value>,
    pub(super) resume: Option<Value>,
    pub(super) update: Option<Map<String, Value>>,
    pub(super) goto: Vec<String>,
    pub(super) context: Map<String, Value>,
    pub(super) before: Vec<String>,
    pub(super) after: Vec<String>,
    /// Most supersteps that it may take.
    #[serde(default)]
    pub(super) supersteps_max: Option<u64>,
    /// Id of the state to begin at.
    pub(super) checkpoint: Option<String>,
    /// Seq of the checkpoint to begin on: what came after was taken back.
    #[serde(default)]
    pub(super) from: Option<u64>,
    pub(super) modes: BTreeSet<Mode>,
    /// Whether events of subgraphs are sent.
    #[serde(default)]
    pub(super) subgraphs: bool,
    pub(super) resumable: bool,
    pub(super) webhook: Option<String>,
    /// Whose key ordered it; `None`: whoever operates this server.
    #[serde(default)]
    pub(super) by: Option<String>,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Ended {
    /// The graph is through.
    Finished,
    /// It asks.
    Asked,
    /// It is held before or after a node.
    Held,
    /// It was cancelled.
    Cancelled,
    /// It failed.
    Failed(Problem),
}

impl Ended {
    /// The status of such a run.
    pub(super) fn status(&self) -> &'static str {
        match self {
            Self::Finished | Self::Held => "success",
            Self::Asked | Self::Cancelled => "interrupted",
            Self::Failed(problem) if is_late(problem) => "timeout",
            Self::Failed(_) => "error",
        }
    }
}

/// Whether a run failed because a node, or all of it, took longer than its graph allows.
fn is_late(problem: &Problem) -> bool {
    match problem.code.as_str() {
        "runtime.node_timeout" => true,
        "runtime.limit_reached" => problem.message.contains(" ms of wall time"),
        _ => false,
    }
}

/// What to do with runs that go on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Strategy {
    /// The new run waits for its turn.
    #[default]
    Enqueue,
    /// The new run is refused.
    Reject,
    /// They are cancelled; what they wrote stays.
    Interrupt,
    /// They are cancelled and forgotten, with what they wrote.
    Rollback,
}

/// A kind of event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Mode {
    /// The whole state after each superstep.
    Values,
    /// What each node wrote when it finished.
    Updates,
    /// What nodes say while they run.
    Custom,
    /// Each state as it is kept.
    Checkpoints,
    /// Tasks as they start and end.
    Tasks,
    /// `checkpoints` and `tasks` with their times.
    Debug,
    /// What models write, each message as far as it is written.
    Messages,
    /// What models write, piece by piece.
    MessagesTuple,
    /// LangChain's own events. Refused: nothing here makes any.
    Events,
}

/// A run as the wire has it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Run {
    run_id: String,
    thread_id: String,
    assistant_id: String,
    metadata: Map<String, Value>,
    /// `pending`, `running`, `success`, `error`, `timeout` or `interrupted`.
    status: &'static str,
    /// What was asked for.
    kwargs: Value,
    multitask_strategy: Strategy,
    created_at: String,
    updated_at: String,
    langsmith_session_name: Option<String>,
}

impl Run {
    pub(super) fn id(&self) -> RunId {
        RunId(self.run_id.clone())
    }
}

impl RunRecord {
    /// The run as the wire has it. `began`: whether the graph was entered; `url`: this server's.
    pub(super) fn shown(&self, began: bool, url: &str) -> Run {
        let status = match &self.ended {
            Some(ended) => ended.status(),
            None if began => "running",
            None => "pending",
        };
        let mut kwargs = self.kwargs.clone();
        if let Some(Value::String(url)) = kwargs.get_mut("webhook") {
            // Paths and queries of webhooks are often secrets, and whoever may read reads this.
            *url = origin_of(url);
        }
        if began || self.ended.is_some() {
            kwargs["config"]["configurable"]["__pregel_node_finished"] = Value::Null;
            if let Some(metadata) = kwargs["config"]["metadata"].as_object_mut() {
                metadata.extend(server(url));
            }
        }
        Run {
            run_id: self.id.to_string(),
            thread_id: self.thread.to_string(),
            assistant_id: self.assistant.clone(),
            metadata: self.metadata.clone(),
            status,
            kwargs,
            multitask_strategy: self.multitask,
            created_at: super::protocol::stamp(self.due.unwrap_or(self.created)),
            updated_at: super::protocol::stamp(self.updated),
            langsmith_session_name: None,
        }
    }

    /// `config.configurable` of what was asked for.
    pub(super) fn configurable(&self) -> Map<String, Value> {
        self.kwargs["config"]["configurable"].as_object().cloned().unwrap_or_default()
    }
}

/// What a server adds to the metadata of a run that it works on.
pub(super) fn server(url: &str) -> Map<String, Value> {
    let added = json!({
        "run_attempt": 1,
        "langgraph_version": LANGGRAPH_VERSION,
        "langgraph_api_version": API_VERSION,
        "langgraph_plan": "enterprise",
        "langgraph_host": "self-hosted",
        "langgraph_api_url": url,
    });
    added.as_object().cloned().unwrap_or_default()
}
