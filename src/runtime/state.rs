//! A thread as the outside sees it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Checkpoint, Lineage, Question, Status, TaskState, Usage};
use crate::base::{Millis, Problem, RunId, ThreadId};

/// How a thread stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ThreadStatus {
    /// It has no run yet; one may be queued.
    Idle,
    /// A run goes on, or waits for a timer or a signal.
    Busy,
    /// The run waits for a person: to answer, or to let it go on.
    Interrupted,
    /// The last run finished.
    Done,
    /// The last run failed.
    Error,
    /// The last run was cancelled.
    Cancelled,
}

impl ThreadStatus {
    /// Whether the last run is over.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Error | Self::Cancelled)
    }
}

impl From<Status> for ThreadStatus {
    fn from(status: Status) -> Self {
        match status {
            Status::Running | Status::Waiting => Self::Busy,
            Status::Interrupted => Self::Interrupted,
            Status::Done => Self::Done,
            Status::Error => Self::Error,
            Status::Cancelled => Self::Cancelled,
        }
    }
}

/// A thread at one of its checkpoints.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ThreadState {
    /// Thread.
    pub thread: ThreadId,
    /// How it stands.
    pub status: ThreadStatus,
    /// Its run.
    pub run: RunId,
    /// Seq of the checkpoint.
    pub seq: u64,
    /// Superstep within the run.
    pub superstep: u64,
    /// Channels that are set.
    pub values: BTreeMap<String, Value>,
    /// Nodes that run next, or wait to.
    pub next: Vec<String>,
    /// Those of them that start only when somebody lets the run go on.
    pub held: Vec<String>,
    /// Open questions.
    pub interrupts: Vec<OpenInterrupt>,
    /// Why the run failed; `None` unless it did.
    pub error: Option<Problem>,
    /// Name of the graph.
    pub graph: String,
    /// Content hash of the graph.
    pub graph_hash: String,
    /// Read-only values of the run.
    pub context: BTreeMap<String, Value>,
    /// When the thread got its first run.
    pub created: Millis,
    /// When the run began.
    pub started: Millis,
    /// When the checkpoint was made.
    pub updated: Millis,
    /// When something happens by itself.
    pub wake_at: Option<Millis>,
    /// What the models took in this run.
    pub usage: Usage,
    /// How often each node was started in this run.
    pub visits: BTreeMap<String, u64>,
    /// Where it stands among the states of its thread.
    pub lineage: Lineage,
}

/// A question that waits for an answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OpenInterrupt {
    /// Name it in the resume.
    pub id: String,
    /// The node that asks.
    pub node: String,
    /// What it asks.
    pub question: Question,
    /// When it asked.
    pub asked_at: Millis,
}

impl From<&Checkpoint> for ThreadState {
    fn from(state: &Checkpoint) -> Self {
        let ends = matches!(state.status, Status::Done | Status::Cancelled);
        let open = |task: &&super::Task| !ends && task.state != TaskState::Finished;
        let interrupts = state
            .interrupts()
            .filter(|_| !state.status.is_over())
            .map(|(node, interrupt)| OpenInterrupt {
                id: interrupt.id.clone(),
                node: node.to_owned(),
                question: interrupt.question.clone(),
                asked_at: interrupt.asked_at,
            })
            .collect();
        let failed = state.error.as_ref().filter(|_| state.status == Status::Error);
        Self {
            thread: state.thread.clone(),
            status: state.status.into(),
            run: state.run.id.clone(),
            seq: state.seq,
            superstep: state.superstep,
            values: state.values(),
            next: state.tasks.iter().filter(open).map(|task| task.node.clone()).collect(),
            held: state
                .tasks
                .iter()
                .filter(|task| task.held && !state.status.is_over())
                .map(|task| task.node.clone())
                .collect(),
            interrupts,
            error: failed.map(|error| error.problem.clone()),
            graph: state.run.graph.clone(),
            graph_hash: state.run.graph_hash.clone(),
            context: (*state.run.context).clone(),
            created: state.run.thread_created,
            started: state.run.started,
            updated: state.at,
            wake_at: state.wake_at(),
            usage: state.progress.usage,
            visits: state.visits(),
            lineage: state.progress.lineage,
        }
    }
}

/// A line of the list of threads.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ThreadSummary {
    /// Thread.
    pub thread: ThreadId,
    /// How it stands.
    pub status: ThreadStatus,
    /// Its run, once it has one.
    pub run: Option<RunId>,
    /// Name of the graph.
    pub graph: Option<String>,
    /// Open questions.
    pub interrupts: usize,
    /// When it got its first run.
    pub created: Option<Millis>,
    /// When it last changed.
    pub updated: Option<Millis>,
}
