//! The state of a thread between two commits: all that a restart needs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Answer, Grant, Named, NodeError, Question, Usage, WaitFor};
use crate::base::{EffectKey, Millis, Problem, RunId, ThreadId};

/// One point in the history of a thread. Checkpoints are never changed, only followed by another.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// Thread.
    pub thread: ThreadId,
    /// Position in the thread's history, from 1, without gaps.
    pub seq: u64,
    /// What stays the same for the whole run.
    pub run: Arc<RunInfo>,
    /// Superstep that is open, or was the last, from 1 within the run.
    pub superstep: u64,
    /// How the run stands.
    pub status: Status,
    /// Every channel ever written on this thread, also by graphs of another version.
    pub channels: Named<Slot>,
    /// Tasks of the open superstep.
    pub tasks: Vec<Task>,
    /// Counters of the run.
    pub progress: Progress,
    /// Production effects granted in this run, newest last.
    pub grants: Vec<Grant>,
    /// Signals that came before anyone waited for them, oldest first.
    pub signals: Vec<(String, Value)>,
    /// What broke the run, or the failure that an `on_error` route took over last.
    pub error: Option<Box<RunError>>,
    /// When it was made.
    pub at: Millis,
}

/// What stays the same for a whole run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunInfo {
    /// Run.
    pub id: RunId,
    /// Name of the graph.
    pub graph: String,
    /// Content hash of the graph the run is pinned to.
    pub graph_hash: String,
    /// Read-only values.
    pub context: Arc<BTreeMap<String, Value>>,
    /// When it began.
    pub started: Millis,
    /// When the thread got its first run.
    pub thread_created: Millis,
    /// The thread's checkpoint before this run; 0: none.
    pub parent_seq: u64,
    /// Where this run stops for somebody to look, besides where its graph says so.
    #[serde(default, skip_serializing_if = "Pauses::is_empty")]
    pub pauses: Pauses,
    /// Most supersteps it may take, where the graph would let it take more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supersteps_max: Option<u64>,
    /// The run it continues under another version of its graph: side effects and questions are known by that one's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continues: Option<RunId>,
}

impl RunInfo {
    /// The id by which its side effects and questions are known.
    pub fn effects_of(&self) -> &RunId {
        self.continues.as_ref().unwrap_or(&self.id)
    }
}

/// Nodes before or after which a run is held until it is told to go on; `*` is every node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pauses {
    /// Held before these start.
    #[serde(default)]
    pub before: Vec<String>,
    /// What follows these is held.
    #[serde(default)]
    pub after: Vec<String>,
}

impl Pauses {
    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.before.is_empty() && self.after.is_empty()
    }

    pub(super) fn names(list: &[String], node: &str) -> bool {
        list.iter().any(|name| name == node || name == "*")
    }
}

/// Counters of a run, for its limits.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Supersteps that count against the limit: all but the looks of a `repeat`.
    pub supersteps: u64,
    /// Times each node was started, looks of a `repeat` left out.
    pub visits: Named<u64>,
    /// Model tokens and cost.
    pub usage: Usage,
    /// Time spent waiting for a person alone [ms]: it does not count as wall time.
    pub waited_ms: u64,
    /// The limit that was reached, once one was, and the superstep it happened in.
    pub limit_reached: Option<(String, u64)>,
    /// Calls of subgraphs that are going on, by path.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub calls: BTreeMap<String, Call>,
    /// Nodes that wait until others have nothing to do.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub deferred: BTreeSet<String>,
    /// Who has led to each join.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub joins: BTreeMap<String, JoinState>,
    /// What failed nodes had taken that are still planned: it is counted in `usage` already, and what is tried again repeats it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub counted: BTreeMap<String, Usage>,
    /// When the run is out of wall time, while it waits for a time or a signal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wall_end: Option<Millis>,
    /// Where this state stands among those of its thread.
    #[serde(default)]
    pub lineage: Lineage,
}

/// One call of a subgraph, for its limits: what the run had used when it began.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// Supersteps in which a node of its own started.
    pub supersteps: u64,
    /// When it began.
    pub entered: Millis,
    /// Time the run had spent waiting for a person by then [ms].
    pub waited_ms: u64,
    /// Model tokens and cost of the run by then.
    pub usage: Usage,
    /// The limit that was reached, once one was, and the superstep it happened in.
    pub limit_reached: Option<(String, u64)>,
}

/// How far a join is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct JoinState {
    /// Nodes that have led here in this round.
    pub arrived: BTreeSet<String>,
    /// It has run in this round.
    pub fired: bool,
}

/// Where a state stands among those of its thread. Checkpoints that only say how far the tasks of one superstep are
/// share one lineage: seen from outside they are one state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lineage {
    /// States on the way here. A start counts twice: for the input, and for the superstep it opens.
    pub step: u64,
    /// What made it.
    pub origin: Origin,
    /// Seq of the checkpoint that made it.
    pub seq: u64,
    /// When that was.
    pub at: Millis,
    /// Seq of a checkpoint of the state that it grew from; 0: none.
    pub parent: u64,
}

/// What makes a state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The input of a run.
    Start,
    /// The end of a superstep.
    #[default]
    Superstep,
    /// Somebody changed it by hand.
    Update,
    /// It was taken from an earlier state, here or of another thread.
    Fork,
}

/// One channel of a checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct Slot {
    /// Grows by one with every change, from 1.
    pub version: u64,
    /// Superstep of the last change, within its run.
    pub superstep: u64,
    /// The value; `None`: unset.
    pub value: Option<Arc<Value>>,
}

/// How a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Has tasks that could run now.
    Running,
    /// Every task left waits for a timer or a signal.
    Waiting,
    /// Every task left waits for a person: to answer, or to let it go on.
    Interrupted,
    /// Finished.
    Done,
    /// Failed; `retry` runs the failed tasks again.
    Error,
    /// Cancelled.
    Cancelled,
}

impl Status {
    /// Whether the run is over: a new one may start.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Error | Self::Cancelled)
    }

    /// The name it has in stores and answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Interrupted => "interrupted",
            Self::Done => "done",
            Self::Error => "error",
            Self::Cancelled => "cancelled",
        }
    }
}

/// One node planned in the open superstep.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// Name of the node: unique in a superstep.
    pub node: String,
    /// How far it is.
    pub state: TaskState,
    /// A look of a `repeat`: it counts against no limit but the wall time.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub look: bool,
    /// Questions it has asked so far.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub asked: u32,
    /// Nothing happens to it until somebody lets the run go on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub held: bool,
    /// The superstep it was planned in, where that was closed without it; 0: the open one. Its side effects and questions
    /// are known by it.
    #[serde(default, skip_serializing_if = "is_none")]
    pub since: u64,
}

impl Task {
    /// The superstep of `state` that it was planned in.
    pub fn superstep(&self, state: &Checkpoint) -> u64 {
        if self.since == 0 { state.superstep } else { self.since }
    }

    /// Whether it could run at `now`.
    pub fn is_runnable(&self, now: Millis) -> bool {
        !self.held && self.state.is_runnable(now)
    }

    /// The moment at which something happens to it by itself.
    pub fn due(&self) -> Option<Millis> {
        if self.held { None } else { self.state.due() }
    }
}

fn is_none(superstep: &u64) -> bool {
    *superstep == 0
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// How far a task is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// Runs as soon as it can.
    Ready,
    /// Runs at this moment.
    At(Millis),
    /// Waits for a person.
    Asked(Box<Interrupt>),
    /// The person answered: runs as soon as it can.
    Answered(Answer),
    /// Waits for a timer or a signal.
    Waiting(WaitFor),
    /// The timer rang or the signal came: runs as soon as it can.
    Woken(Value),
    /// Its result lies among the pending writes.
    Finished,
}

impl TaskState {
    /// Whether it could run at `now`.
    pub fn is_runnable(&self, now: Millis) -> bool {
        match self {
            Self::Ready | Self::Answered(_) | Self::Woken(_) => true,
            Self::At(at) => *at <= now,
            Self::Asked(_) | Self::Waiting(_) | Self::Finished => false,
        }
    }

    /// The moment at which something happens to it by itself.
    pub fn due(&self) -> Option<Millis> {
        match self {
            Self::At(at) => Some(*at),
            Self::Waiting(WaitFor::Until(at)) => Some(Millis(*at)),
            Self::Waiting(WaitFor::Signal { give_up_at, .. }) => give_up_at.map(Millis),
            Self::Asked(interrupt) => interrupt.question.expires_at.map(Millis),
            Self::Ready | Self::Answered(_) | Self::Woken(_) | Self::Finished => None,
        }
    }
}

/// A question that stops a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Interrupt {
    /// Stable by run, superstep and node.
    pub id: String,
    /// What is asked.
    pub question: Question,
    /// When it was asked.
    pub asked_at: Millis,
    /// Set when the question is whether a side effect happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doubt: Option<EffectKey>,
}

/// A failure as conditions see it (`error.code`, `error.message`, `error.class`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunError {
    /// The node that failed, if it was one.
    pub node: Option<String>,
    /// Its class: `fatal` where no node was to blame.
    pub class: String,
    /// Code, text, hint.
    pub problem: Problem,
}

/// What a finished task of an open superstep left: durable before the superstep is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskResult {
    /// Name of the node.
    pub node: String,
    /// Channel → value, in the order written, each fitting its channel's schema.
    pub writes: Vec<(String, Value)>,
    /// Consent that came with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<Grant>,
    /// What the model took.
    pub usage: Usage,
    /// The failure, when an `on_error` route takes it over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<NodeError>,
    /// Where it goes instead of where its edges say: declared targets of the node, all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub goto: Option<Vec<String>>,
}

impl TaskResult {
    /// A result with these writes and nothing else.
    pub fn of(node: &str, writes: Vec<(String, Value)>) -> Self {
        let usage = Usage::default();
        Self { node: node.to_owned(), writes, grant: None, usage, failed: None, goto: None }
    }
}

impl Checkpoint {
    /// When the run must be looked at again by itself: the earliest timer or expiry of an open task, or the end of its wall
    /// time if that comes first.
    pub fn wake_at(&self) -> Option<Millis> {
        if self.status.is_over() {
            return None;
        }
        let wall_end = self.progress.wall_end.filter(|_| self.status == Status::Waiting);
        self.tasks.iter().filter_map(Task::due).chain(wall_end).min()
    }

    /// The oldest checkpoint of the thread that pruning must leave: while a run is open, the one it began after.
    pub fn prune_limit(&self) -> u64 {
        if self.status.is_over() { self.seq } else { self.run.parent_seq.min(self.seq) }
    }

    /// The status that follows from the tasks of an open superstep.
    pub fn status_of_tasks(&self, now: Millis) -> Status {
        let any = |fits: fn(&Task) -> bool| self.tasks.iter().any(fits);
        let waits = |task: &Task| matches!(task.state, TaskState::At(_) | TaskState::Waiting(_));
        if self.tasks.iter().any(|task| task.is_runnable(now)) {
            Status::Running
        } else if self.tasks.iter().any(|task| !task.held && waits(task)) {
            Status::Waiting
        } else if any(|task| task.held || matches!(task.state, TaskState::Asked(_))) {
            Status::Interrupted
        } else {
            Status::Running
        }
    }

    /// Whether a task is held: the run is not over, and goes on when it is told to.
    pub fn is_held(&self) -> bool {
        !self.status.is_over() && self.tasks.iter().any(|task| task.held)
    }

    /// The node that waits for a signal of that name.
    pub fn waits_for(&self, signal: &str) -> Option<&str> {
        let waits = |task: &&Task| matches!(&task.state, TaskState::Waiting(WaitFor::Signal { name, .. }) if name == signal);
        self.tasks.iter().find(waits).map(|task| task.node.as_str())
    }

    /// The open questions with the node that asks.
    pub fn interrupts(&self) -> impl Iterator<Item = (&str, &Interrupt)> {
        self.tasks.iter().filter_map(|task| match &task.state {
            TaskState::Asked(interrupt) => Some((task.node.as_str(), &**interrupt)),
            _ => None,
        })
    }

    /// How often each node was started.
    pub fn visits(&self) -> BTreeMap<String, u64> {
        self.progress.visits.iter().map(|(node, count)| (node.to_owned(), *count)).collect()
    }

    /// The values that are set.
    pub fn values(&self) -> BTreeMap<String, Value> {
        self.channels
            .iter()
            .filter_map(|(name, slot)| Some((name.to_owned(), slot.value.as_deref()?.clone())))
            .collect()
    }
}
