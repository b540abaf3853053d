//! A graph as it is run. The loader makes it from text and proves it: whoever gets one from there need not check again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Position of a node in [`Graph::nodes`].
pub type NodeIx = usize;

/// A proven state graph.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Graph {
    /// Its name.
    pub name: String,
    /// Version for people; runs are pinned by `hash`.
    pub version: u32,
    /// One sentence.
    pub description: String,
    /// Hash of this definition with the prompts and manifests it names.
    pub hash: String,
    /// Channels, inputs included (an input is a `replace` channel that the caller writes).
    pub channels: BTreeMap<String, Channel>,
    /// Names of the channels a caller writes; true where required.
    pub input: BTreeMap<String, bool>,
    /// Read-only values given per run: name → JSON Schema.
    pub context: BTreeMap<String, Value>,
    /// Channels a finished run answers with.
    pub output: Vec<String>,
    /// Bounds of a run.
    pub limits: Limits,
    /// When what follows a node starts.
    #[serde(default, skip_serializing_if = "Mode::is_superstep")]
    pub mode: Mode,
    /// Nodes, in file order.
    pub nodes: Vec<Node>,
    /// Where a run starts.
    pub start: Vec<NodeIx>,
    /// How threads of earlier versions become threads of this, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub migrations: Vec<Migration>,
}

/// When what follows a node starts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// When all that runs beside it is done, too.
    #[default]
    Superstep,
    /// At once: the loader proved that nothing that may run beside it can tell.
    Eager,
}

impl Mode {
    fn is_superstep(&self) -> bool {
        *self == Self::Superstep
    }
}

/// How a thread leaves one version behind.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Migration {
    /// The version it leaves.
    pub from: u32,
    /// Channels under a new name: old → new.
    pub rename: BTreeMap<String, String>,
    /// What a channel holds that holds nothing.
    pub default: BTreeMap<String, Value>,
    /// What a channel holds from now on, from templates over all that is held after `rename` and `default`.
    pub set: BTreeMap<String, Value>,
    /// Nodes under a new name: old → new.
    pub nodes: BTreeMap<String, String>,
}

/// One named piece of state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Channel {
    /// JSON Schema every value must fit, `null` allowed where nullable.
    pub schema: Value,
    /// How one superstep's writes fold into it.
    pub reducer: Reducer,
    /// How long a value lives.
    pub lifetime: Lifetime,
    /// What it holds before anyone writes; `None`: unset, which is not the same as `Some(null)`.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub default: Option<Value>,
}

/// A value that is there, be it `null`; serde alone would read that as absent.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// The rule that folds writes into a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reducer {
    /// The newest write; two in one superstep are an error.
    Replace,
    /// Lists, one after another.
    Append,
    /// Objects, key by key.
    Merge,
    /// Lists as sets.
    Union,
    /// Numbers added.
    Sum,
    /// Smallest.
    Min,
    /// Largest.
    Max,
    /// Messages by id: same id replaces, new id appends.
    Messages,
}

/// How long a channel's value lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lifetime {
    /// As long as the thread.
    Thread,
    /// Cleared when a new run starts.
    Run,
    /// Cleared after the superstep that reads it.
    Step,
}

/// Bounds of a run, and where it goes when one is reached.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Supersteps of one run.
    pub supersteps: u64,
    /// Times one node may start in one run.
    pub visits_per_node: u64,
    /// Wall time by the run's clock [ms].
    pub wall_ms: Option<u64>,
    /// Model tokens.
    pub tokens: Option<u64>,
    /// Model cost [USD].
    pub cost_usd: Option<f64>,
    /// The node that runs instead of failing.
    pub on_limit: Option<NodeIx>,
}

/// One unit of work.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// What it does.
    pub kind: Kind,
    /// Channels it may read.
    pub reads: Vec<String>,
    /// The channel its result goes to; `set` nodes name theirs in the kind.
    pub writes: Option<String>,
    /// Longest single attempt [ms].
    pub timeout_ms: u64,
    /// When and how to try again.
    pub retry: RetryPolicy,
    /// Look again later instead of moving on.
    pub repeat: Option<Repeat>,
    /// Where errors go; empty: the run fails.
    pub on_error: Vec<OnError>,
    /// Remembers what it answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<Cache>,
    /// The run is held here until it is told to go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<Pause>,
    /// Waits for several nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub join: Option<Join>,
    /// Runs only when nothing else of its graph has anything to do.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub defer: bool,
    /// Where it goes next.
    pub route: Route,
}

/// What a node answered to a key is its answer for a while, on the same thread.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cache {
    /// How long [ms].
    pub ttl_ms: u64,
    /// Value whose strings are templates; `None`: everything the node may read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Value>,
}

/// When a run is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pause {
    /// Before the node starts.
    Before,
    /// What follows the node is held.
    After,
}

/// A node that runs once for several that lead to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Join {
    /// The nodes it waits for: every edge to it comes from one of these.
    pub after: Vec<NodeIx>,
    /// So many of them must have led here.
    pub need: usize,
}

/// Try again on which errors, how often, after how long.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RetryPolicy {
    /// Attempts after the first.
    pub max: u32,
    /// First pause [ms].
    pub initial_ms: u64,
    /// Growth of the pause.
    pub factor: f64,
    /// Longest pause [ms].
    pub cap_ms: u64,
    /// Draw the pause uniformly from [half, whole].
    pub jitter: bool,
    /// Error classes worth another try: `timeout`, `unavailable`, `rate_limited`.
    pub on: Vec<String>,
}

/// Run the node again every so often until a condition holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Repeat {
    /// Pause between two looks [ms].
    pub every_ms: u64,
    /// Expression over the channels, evaluated after the node's write.
    pub until: String,
}

/// A route taken when the node fails for good.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OnError {
    /// Expression that sees `error` (`code`, `message`, `class`); `None` always matches.
    pub when: Option<String>,
    /// Next node; `None` is the end.
    pub to: Option<NodeIx>,
    /// Channel → value whose strings are templates, which see `error`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<String, Value>,
}

/// Where a node goes when it is done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Route {
    /// All of these, always. Empty: nowhere by itself.
    Always(Vec<EdgeTarget>),
    /// The first whose condition holds; the loader proved that one always does.
    First(Vec<(Option<String>, EdgeTarget)>),
}

/// A node or the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum EdgeTarget {
    /// The run is over once nothing else is planned.
    End,
    /// A node.
    Node(NodeIx),
}

/// What a node does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Kind {
    /// One call of one tool.
    Tool(ToolCallSpec),
    /// A model with tools and a typed answer.
    Agent(AgentSpec),
    /// A question to a person.
    Approval(ApprovalSpec),
    /// One tool call per element.
    Foreach(ForeachSpec),
    /// A durable timer or signal.
    Wait(WaitSpec),
    /// Channels from expressions: channel → value whose strings are templates.
    Set(BTreeMap<String, Value>),
    /// Another graph, run as part of this one.
    Graph(Box<SubgraphSpec>),
}

/// A graph as a node of another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SubgraphSpec {
    /// The graph, as it was when this one was loaded.
    pub graph: Graph,
    /// Its input → value whose strings are templates over the channels around it.
    pub input: BTreeMap<String, Value>,
    /// Channel around it → value whose strings are templates over its output.
    pub output: BTreeMap<String, Value>,
    /// How long its channels live.
    pub memory: Memory,
}

/// How long the channels of a subgraph live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Memory {
    /// Until it is called again: each call starts anew.
    Call,
    /// As their lifetimes say: what lives as long as the thread is there in the next call.
    Thread,
    /// Until the call is over.
    None,
}

/// A tool and its arguments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolCallSpec {
    /// Name of the tool.
    pub tool: String,
    /// Arguments; every string in it is a template.
    pub args: Value,
}

/// A model call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentSpec {
    /// File name of the prompt.
    pub prompt: String,
    /// Text of the prompt: runs are pinned to it.
    pub prompt_text: String,
    /// Text of `system.md`, which every conversation begins with: runs are pinned to it as well. Empty: there is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub system_text: String,
    /// Tools it may call.
    pub tools: Vec<String>,
    /// JSON Schema of its answer.
    pub output: Value,
    /// Name of the answer's type, for the model: `Diagnosis`.
    pub output_name: String,
    /// Model calls at most.
    pub turns: u32,
}

/// A question to a person.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ApprovalSpec {
    /// File name of the question's template.
    pub ask: String,
    /// Its text.
    pub ask_text: String,
    /// JSON Schema of the answer.
    pub answer: Value,
    /// Answers that grant production effects on this thread.
    pub grants: Vec<Value>,
    /// Waits this long [ms].
    pub expires_ms: Option<u64>,
    /// The answer when nobody came; never one that grants.
    pub on_expiry: Option<Value>,
}

/// A map over a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ForeachSpec {
    /// Channel with the list.
    pub items: String,
    /// Name of the element in the arguments.
    pub element: String,
    /// Calls at a time.
    pub max_parallel: usize,
    /// The call.
    pub call: ToolCallSpec,
}

/// Waits without a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum WaitSpec {
    /// This long [ms].
    For(u64),
    /// Until a signal of this name comes, at most so long [ms].
    Signal {
        /// Name.
        name: String,
        /// Gives up after [ms].
        timeout_ms: Option<u64>,
    },
}

impl Graph {
    /// The node of that name.
    pub fn node(&self, name: &str) -> Option<(NodeIx, &Node)> {
        self.nodes.iter().enumerate().find(|(_, node)| node.name == name)
    }
}
