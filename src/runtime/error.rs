//! What can go wrong in the runtime, each case with a stable code.

use crate::base::{Coded, Problem, ThreadId};

/// Why the runtime refused or failed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The store failed; its own code and hint are inside.
    #[error("{0}")]
    Store(Problem),
    /// Another owner took the thread over: this one must stop without writing.
    #[error("another owner has taken over thread `{0}`")]
    Fenced(ThreadId),
    /// No such thread.
    #[error("there is no thread `{0}`")]
    UnknownThread(ThreadId),
    /// The run is pinned to a graph that the store does not hold.
    #[error("the graph `{0}` that this run is pinned to is not in the store")]
    UnknownGraph(String),
    /// A stored graph does not compile any more.
    #[error("the graph `{graph}` cannot be run: {reason}")]
    GraphUnusable {
        /// Name.
        graph: String,
        /// What is wrong.
        reason: String,
    },
    /// The input does not fit the graph.
    #[error("the input does not fit graph `{graph}`: {reason}")]
    InputInvalid {
        /// Name of the graph.
        graph: String,
        /// What is wrong.
        reason: String,
    },
    /// The context does not fit the graph.
    #[error("the context does not fit graph `{graph}`: {reason}")]
    ContextInvalid {
        /// Name of the graph.
        graph: String,
        /// What is wrong.
        reason: String,
    },
    /// A value of an earlier run does not fit the graph that should go on with it.
    #[error("channel `{channel}` holds a value that graph `{graph}` does not accept: {reason}")]
    StateIncompatible {
        /// Channel.
        channel: String,
        /// Name of the graph.
        graph: String,
        /// What is wrong.
        reason: String,
    },
    /// A node wrote a channel that the graph does not have.
    #[error("node `{node}` wrote channel `{channel}`, which the graph does not have")]
    WriteUnknown {
        /// Node.
        node: String,
        /// Channel.
        channel: String,
        /// The channel that was meant, perhaps.
        nearest: Option<String>,
    },
    /// A node wrote a channel that it does not declare.
    #[error("node `{node}` wrote channel `{channel}`, which it does not declare")]
    WriteUndeclared {
        /// Node.
        node: String,
        /// Channel.
        channel: String,
    },
    /// A node wrote a value that does not fit its channel.
    #[error("node `{node}` wrote a value that channel `{channel}` does not accept: {reason}")]
    WriteInvalid {
        /// Node.
        node: String,
        /// Channel.
        channel: String,
        /// What is wrong.
        reason: String,
    },
    /// The writes of one superstep do not fold.
    #[error("the writes to channel `{channel}` do not fold: {reason}")]
    Fold {
        /// Channel.
        channel: String,
        /// What is wrong.
        reason: String,
    },
    /// A condition could not be evaluated, or none of them held.
    #[error("node `{node}` cannot be left: {reason}")]
    Route {
        /// Node.
        node: String,
        /// What is wrong.
        reason: String,
    },
    /// A thread cannot move to another version of its graph.
    #[error("thread `{thread}` cannot move to that version of its graph: {problems}")]
    MigrationRefused {
        /// Thread.
        thread: ThreadId,
        /// All that stands against it.
        problems: String,
    },
    /// A join waits for nodes that will not come.
    #[error("node `{node}` waits for `{missing}`, which the run did not come to")]
    JoinStarved {
        /// The join.
        node: String,
        /// Who is missing.
        missing: String,
    },
    /// A limit of the run was reached.
    #[error("the run reached its limit of {limit}")]
    LimitReached {
        /// Which and how much: `80 supersteps`.
        limit: String,
    },
    /// A resume when nothing is asked, or when the named question is not open any more.
    #[error("no open question of thread `{thread}` fits: {reason}")]
    InterruptStale {
        /// Thread.
        thread: ThreadId,
        /// What is open instead.
        reason: String,
    },
    /// A resume that names no question while several are open.
    #[error("{open} questions are open: name one of {ids}")]
    InterruptAmbiguous {
        /// How many.
        open: usize,
        /// Their ids.
        ids: String,
    },
    /// The same question was answered before.
    #[error("question `{0}` has been answered already")]
    InterruptAnswered(String),
    /// The answer does not fit the question.
    #[error("the answer does not fit the question: {reason}")]
    AnswerInvalid {
        /// What is wrong.
        reason: String,
    },
    /// A signal brings something that the node which waits for it cannot write.
    #[error("signal `{signal}` brings what node `{node}` cannot write: {reason}")]
    SignalInvalid {
        /// Signal.
        signal: String,
        /// Who waits for it.
        node: String,
        /// What is wrong.
        reason: String,
    },
    /// The thread has a run and the caller does not want to queue behind it.
    #[error("thread `{0}` is busy with a run")]
    Busy(ThreadId),
    /// A thread has no such checkpoint.
    #[error("thread `{thread}` has no checkpoint {seq}")]
    UnknownCheckpoint {
        /// Thread.
        thread: ThreadId,
        /// Checkpoint.
        seq: u64,
    },
    /// A thread that should be made is there.
    #[error("there is a thread `{0}` already")]
    ThreadExists(ThreadId),
    /// The graph has no such node.
    #[error("graph `{graph}` has no node `{node}`")]
    UnknownNode {
        /// Node.
        node: String,
        /// Graph.
        graph: String,
        /// The node that was meant, perhaps.
        nearest: Option<String>,
    },
    /// No node of the graph waits for that signal.
    #[error("graph `{graph}` waits for no signal `{name}`")]
    UnknownSignal {
        /// Signal.
        name: String,
        /// Graph.
        graph: String,
        /// The signal that was meant, perhaps.
        nearest: Option<String>,
    },
    /// A jump that the graph does not foresee.
    #[error("node `{node}` does not lead to `{target}`")]
    GotoUndeclared {
        /// Node.
        node: String,
        /// Where it should go.
        target: String,
        /// Where it may go.
        declared: String,
    },
    /// A checkpoint at which nobody knows whether a side effect happened.
    #[error("at checkpoint {seq} nobody knows whether the side effect of node `{node}` happened")]
    ForkInDoubt {
        /// Node.
        node: String,
        /// Checkpoint.
        seq: u64,
    },
    /// A checkpoint at which a branch had finished whose result is not kept any more: it would be run again.
    #[error("at checkpoint {seq} node `{node}` had finished, and its result is not kept any more")]
    ForkIncomplete {
        /// Node.
        node: String,
        /// Checkpoint.
        seq: u64,
    },
    /// Nothing to cancel or to try again.
    #[error("thread `{thread}` has no run to {action}")]
    NoRun {
        /// Thread.
        thread: ThreadId,
        /// `cancel`, `retry`, `let go on`.
        action: &'static str,
    },
}

impl Coded for Error {
    fn code(&self) -> &'static str {
        match self {
            Self::Store(_) => "runtime.store",
            Self::Fenced(_) => "runtime.fenced",
            Self::UnknownThread(_) => "runtime.unknown_thread",
            Self::UnknownGraph(_) => "runtime.unknown_graph",
            Self::GraphUnusable { .. } => "runtime.graph_unusable",
            Self::InputInvalid { .. } => "runtime.input_invalid",
            Self::ContextInvalid { .. } => "runtime.context_invalid",
            Self::StateIncompatible { .. } => "runtime.state_incompatible",
            Self::WriteUnknown { .. } => "runtime.write_unknown",
            Self::WriteUndeclared { .. } => "runtime.write_undeclared",
            Self::WriteInvalid { .. } => "runtime.write_invalid",
            Self::Fold { .. } => "runtime.fold",
            Self::Route { .. } => "runtime.route",
            Self::MigrationRefused { .. } => "runtime.migration_refused",
            Self::JoinStarved { .. } => "runtime.join_starved",
            Self::LimitReached { .. } => "runtime.limit_reached",
            Self::InterruptStale { .. } => "runtime.interrupt_stale",
            Self::InterruptAmbiguous { .. } => "runtime.interrupt_ambiguous",
            Self::InterruptAnswered(_) => "runtime.interrupt_answered",
            Self::AnswerInvalid { .. } => "runtime.answer_invalid",
            Self::SignalInvalid { .. } => "runtime.signal_invalid",
            Self::Busy(_) => "runtime.busy",
            Self::UnknownCheckpoint { .. } => "runtime.unknown_checkpoint",
            Self::ThreadExists(_) => "runtime.thread_exists",
            Self::UnknownNode { .. } => "runtime.unknown_node",
            Self::UnknownSignal { .. } => "runtime.unknown_signal",
            Self::GotoUndeclared { .. } => "runtime.goto_undeclared",
            Self::ForkInDoubt { .. } => "runtime.fork_in_doubt",
            Self::ForkIncomplete { .. } => "runtime.fork_incomplete",
            Self::NoRun { .. } => "runtime.no_run",
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Store(problem) => return problem.hint.clone(),
            Self::Fenced(_) => "nothing was lost: the other owner goes on from the last checkpoint",
            Self::UnknownThread(_) => "start a run on it first, or list the threads",
            Self::UnknownGraph(_) => "the store was cut down by hand; start a new run",
            Self::GraphUnusable { .. } => "check the graph file and start a new run",
            Self::InputInvalid { .. } => "compare with the graph's `input` section",
            Self::ContextInvalid { .. } => "compare with the graph's `context` section",
            Self::StateIncompatible { .. } => "use a new thread, or migrate this one",
            Self::WriteUnknown { nearest: Some(nearest), .. } => {
                return format!("did you mean `{nearest}`?");
            }
            Self::WriteUnknown { .. } => "add the channel to the graph's `state` section",
            Self::WriteUndeclared { .. } => "name the channel in the node's `writes`",
            Self::WriteInvalid { .. } => "make the node's output and the channel's type agree",
            Self::Fold { .. } => "give the channel a reducer that can hold what is written",
            Self::Route { .. } => "check the conditions under `edges` and `repeat`",
            Self::MigrationRefused { .. } => "add `migrations` to the graph, or use a new thread",
            Self::JoinStarved { .. } => "let each branch lead to it, or need fewer of them",
            Self::LimitReached { .. } => "raise it under `limits`, or name an `on_limit` node",
            Self::InterruptStale { .. } => "read the thread's state for the questions now open",
            Self::InterruptAmbiguous { .. } => "pass the id of the question you answer",
            Self::InterruptAnswered(_) => "read the thread's state: the first answer stands",
            Self::AnswerInvalid { .. } => "compare with the question's answer schema",
            Self::SignalInvalid { .. } => "compare with the type of the channel that it writes",
            Self::Busy(_) => "wait for it, cancel it, or let the new run queue",
            Self::UnknownCheckpoint { .. } => "list the thread's history; old ones may be pruned",
            Self::ThreadExists(_) => "choose another id",
            Self::UnknownNode { nearest: Some(nearest), .. }
            | Self::UnknownSignal { nearest: Some(nearest), .. } => {
                return format!("did you mean `{nearest}`?");
            }
            Self::UnknownNode { .. } => "draw the graph to see its nodes",
            Self::UnknownSignal { .. } => "look under `wait` in the graph file",
            Self::GotoUndeclared { declared, .. } => return format!("it may lead to: {declared}"),
            Self::ForkInDoubt { .. } => "answer the thread's question first",
            Self::ForkIncomplete { .. } => "take a checkpoint before it began, or one after",
            Self::NoRun { .. } => "read the thread's state",
        }
        .to_owned()
    }

    fn problem(&self) -> Problem {
        match self {
            Self::Store(problem) => problem.clone(),
            other => Problem {
                code: other.code().to_owned(),
                message: other.to_string(),
                hint: other.hint(),
            },
        }
    }
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        Self::Store(problem)
    }
}
