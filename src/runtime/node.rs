//! What the runtime asks of a node, and what it lends it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::base::{Clock, EffectKey, Problem, RunId, ThreadId};
use crate::graph;

/// Builds the worker of a node definition; `nodes` implements it, one file per kind.
pub trait NodeFactory: Send + Sync {
    /// The worker of `definition`, which is part of a valid graph.
    fn node(&self, definition: &graph::Node) -> Arc<dyn Node>;
}

/// One unit of work. It sees a snapshot and returns what it wants written; it never touches state itself.
#[async_trait]
pub trait Node: Send + Sync {
    /// Does the work of one visit. Dropped at its deadline and on cancel.
    async fn run(&self, view: &StateView, cx: &TaskContext) -> Result<Outcome, NodeError>;
}

/// The snapshot a node runs on.
#[derive(Debug, Clone)]
pub struct StateView {
    /// Values of the channels that are set: only those the node may read.
    pub channels: BTreeMap<String, Value>,
    /// Read-only values of the run; shared with every other task of it.
    pub context: Arc<BTreeMap<String, Value>>,
    /// How often each node was started in this run; shared with the other tasks of the superstep.
    pub visits: Arc<BTreeMap<String, u64>>,
    /// Production effects granted on this thread, newest last.
    pub grants: Vec<Grant>,
    /// The answer to this node's question, once it came.
    pub answer: Option<Answer>,
    /// The signal this node waited for, or the proof that its timer rang.
    pub woken: Option<Value>,
}

/// An answer to a node's question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The answer.
    pub value: Value,
    /// Who gave it.
    pub by: String,
}

/// A person's consent to production effects.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Grant {
    /// The node that asked.
    pub node: String,
    /// Who answered.
    pub by: String,
    /// The answer.
    pub answer: Value,
}

/// What a task may use while it runs.
pub struct TaskContext {
    /// Thread.
    pub thread: ThreadId,
    /// Run.
    pub run: RunId,
    /// Name of the node.
    pub node: String,
    /// Stable path of the task: `superstep/node`.
    pub task: String,
    /// Attempt, from 0.
    pub attempt: u32,
    /// The run's clock.
    pub clock: Arc<dyn Clock>,
    /// The ledger of side effects.
    pub effects: Arc<dyn Effects>,
    /// Custom events of this task (tool calls, progress), journaled with the thread.
    pub emit: Arc<dyn Fn(Value) + Send + Sync>,
    /// Set when the run is being cancelled or drained, or when the attempt's time is up: nothing new may be begun then.
    pub cancel: CancellationToken,
    /// What the limits of the run leave for model calls.
    pub budget: Budget,
    /// What this attempt's model calls have taken: it counts however the attempt ends.
    pub spent: Arc<Meter>,
}

/// What model calls may still take; `None`: no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Budget {
    /// Tokens, prompts and answers together.
    pub tokens: Option<u64>,
    /// Cost [USD].
    pub cost_usd: Option<f64>,
}

impl Budget {
    /// The smaller of both, limit by limit.
    pub(super) fn within(self, other: Self) -> Self {
        Self {
            tokens: self.tokens.into_iter().chain(other.tokens).min(),
            cost_usd: self.cost_usd.into_iter().chain(other.cost_usd).reduce(f64::min),
        }
    }

    /// Whether another model call is within it, once `used` is taken.
    pub fn allows(&self, used: Usage) -> bool {
        self.tokens.is_none_or(|left| used.tokens() < left)
            && self.cost_usd.is_none_or(|left| used.cost_usd < left)
    }
}

/// Counts what model calls take.
#[derive(Debug, Default)]
pub struct Meter(Mutex<Usage>);

impl Meter {
    /// Counts one call.
    pub fn add(&self, usage: Usage) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).add(usage);
    }

    /// All calls so far.
    pub fn read(&self) -> Usage {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The effect ledger as a task sees it: a call that finished once is never made again.
///
/// Key = hash(run, superstep, task, call number). `policy` is `idempotent`, `probe` or `at_most_once`.
#[async_trait]
pub trait Effects: Send + Sync {
    /// The key of call number `call` of this task: also the tool's idempotency key.
    fn key(&self, call: u32) -> EffectKey;

    /// `Ok(Some(result))`: done before, here is its result. `Ok(None)`: go ahead, then `finish`.
    ///
    /// Errors: class [`ErrorClass::InDoubt`] when an at-most-once call was begun and never finished.
    async fn begin(&self, key: &EffectKey, policy: &str) -> Result<Option<Value>, NodeError>;

    /// Records the result for good.
    async fn finish(&self, key: &EffectKey, result: &Value) -> Result<(), NodeError>;
}

/// What a visit came to.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Writes by channel, and what they cost.
    Update {
        /// Channel → value.
        writes: Vec<(String, Value)>,
        /// Consent that came with it, if any.
        grant: Option<Grant>,
        /// What the model took.
        usage: Usage,
    },
    /// Stop and ask. The node is run again with `answer` set.
    Ask(Question),
    /// Sleep without a task. The node is run again with `woken` set.
    Wait(WaitFor),
}

/// A question to a person.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Question {
    /// What is asked, as Markdown.
    pub text: String,
    /// JSON Schema of the answer.
    pub answer_schema: Value,
    /// Answered by itself after this moment [ms since epoch].
    pub expires_at: Option<u64>,
    /// The answer then.
    pub on_expiry: Option<Value>,
}

/// What a node waits for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum WaitFor {
    /// A moment [ms since epoch].
    Until(u64),
    /// A signal, or the moment it gives up.
    Signal {
        /// Name.
        name: String,
        /// Gives up [ms since epoch].
        give_up_at: Option<u64>,
    },
}

/// Tokens and cost of model calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// Prompt tokens.
    pub input_tokens: u64,
    /// Answer tokens.
    pub output_tokens: u64,
    /// Cost [USD].
    pub cost_usd: f64,
}

impl Usage {
    /// Prompt and answer tokens together.
    pub fn tokens(&self) -> u64 {
        self.input_tokens.saturating_add(self.output_tokens)
    }

    /// Counts `more` in.
    pub fn add(&mut self, more: Self) {
        self.input_tokens = self.input_tokens.saturating_add(more.input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(more.output_tokens);
        self.cost_usd += more.cost_usd;
    }

    /// What came on top of `before`.
    pub(super) fn since(self, before: Self) -> Self {
        Self {
            input_tokens: self.input_tokens.saturating_sub(before.input_tokens),
            output_tokens: self.output_tokens.saturating_sub(before.output_tokens),
            cost_usd: (self.cost_usd - before.cost_usd).max(0.0),
        }
    }

    pub(super) fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// Why a node could not finish. The runtime reads `class`, never the text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[error("{problem}")]
pub struct NodeError {
    /// What kind of failure.
    pub class: ErrorClass,
    /// Code, text, hint.
    pub problem: Problem,
    /// The other side asked for this pause [ms].
    pub retry_after_ms: Option<u64>,
    /// What its model calls took; the runtime fills it in from [`TaskContext::spent`].
    #[serde(default, skip_serializing_if = "Usage::is_none")]
    pub usage: Usage,
}

impl NodeError {
    /// A failure that says nothing about when to try again.
    pub fn new(class: ErrorClass, problem: Problem) -> Self {
        Self { class, problem, retry_after_ms: None, usage: Usage::default() }
    }
}

/// Kinds of failure that callers treat differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorClass {
    /// No answer in time.
    Timeout,
    /// The other side is not there.
    Unavailable,
    /// The other side says: slower.
    RateLimited,
    /// Wrong input: trying again is no use.
    Invalid,
    /// Not allowed.
    Denied,
    /// An at-most-once effect may or may not have happened: a person must look.
    InDoubt,
    /// A limit of the run forbids going on: it goes where that limit says, not where `on_error` does.
    Limit,
    /// Anything else that trying again will not mend.
    Fatal,
    /// The run was cancelled.
    Cancelled,
}

impl ErrorClass {
    /// The name used in `retry.on` and in `error.class`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Unavailable => "unavailable",
            Self::RateLimited => "rate_limited",
            Self::Invalid => "invalid",
            Self::Denied => "denied",
            Self::InDoubt => "in_doubt",
            Self::Limit => "limit",
            Self::Fatal => "fatal",
            Self::Cancelled => "cancelled",
        }
    }
}
