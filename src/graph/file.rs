//! The shape of a graph file, for editors: they complete and check what the JSON Schema of these types says.
//!
//! The loader reads files its own way, so that it finds every fault at its place; tests hold the two to the same keys.

#![allow(dead_code, reason = "only their schema is used")]

use std::collections::BTreeMap;

use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::Value;

/// The JSON Schema of graph files, for editors.
pub fn schema() -> Value {
    let settings = SchemaSettings::draft2020_12();
    let mut schema = SchemaGenerator::new(settings).into_root_schema_for::<GraphFile>().to_value();
    drop_null(&mut schema);
    schema
}

/// An absent key is `Option` in the types and absence in the file: no key takes `null`.
fn drop_null(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(drop_null),
        Value::Object(object) => {
            if let Some(Value::Array(kinds)) = object.get_mut("type") {
                kinds.retain(|kind| kind != "null");
                if let [only] = kinds.as_slice() {
                    let only = only.clone();
                    object.insert("type".to_owned(), only);
                }
            }
            if let Some(Value::Array(parts)) = object.get_mut("anyOf") {
                parts.retain(|part| part.get("type").is_none_or(|kind| kind != "null"));
                if let [Value::Object(only)] = parts.as_slice() {
                    let only = only.clone();
                    object.shift_remove("anyOf");
                    object.extend(only);
                }
            }
            object.values_mut().for_each(drop_null);
        }
        _ => {}
    }
}

/// A state graph.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct GraphFile {
    /// The language of this file.
    schema: Language,
    /// Name of the graph.
    name: String,
    /// For people; runs are pinned to the content.
    version: Option<u32>,
    /// One sentence.
    description: Option<String>,
    /// Channels the caller writes.
    input: Option<BTreeMap<String, TypeFile>>,
    /// Read-only values, given per run; expressions see them as `context.name`.
    context: Option<BTreeMap<String, TypeFile>>,
    /// Channels: named pieces of state.
    state: Option<BTreeMap<String, ChannelFile>>,
    /// Channels a finished run answers with.
    output: Option<Names>,
    /// Bounds of a run; a graph with a loop needs `supersteps` or `visits_per_node`.
    limits: Option<LimitsFile>,
    /// When what follows a node starts: once all that runs beside it is done (`superstep`), or at once (`eager`).
    mode: Option<ModeFile>,
    /// What nodes do that say nothing themselves.
    defaults: Option<DefaultsFile>,
    /// Units of work, by name.
    nodes: BTreeMap<String, NodeFile>,
    /// What follows what, from `start` to `end`.
    edges: Vec<EdgeFile>,
    /// Runs with scripted answers, and what they must come to: `perf-agent graph test`.
    tests: Option<Vec<TestFile>>,
    /// How threads of earlier versions become threads of this.
    migrations: Option<Vec<MigrationFile>>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
enum ModeFile {
    Superstep,
    Eager,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct MigrationFile {
    /// The version it leaves.
    from: u32,
    /// Channels under a new name: old → new.
    rename: Option<BTreeMap<String, String>>,
    /// What a channel holds that holds nothing.
    default: Option<BTreeMap<String, Value>>,
    /// What a channel holds from now on, from templates over what is held after `rename` and `default`.
    set: Option<BTreeMap<String, Value>>,
    /// Nodes under a new name: old → new.
    nodes: Option<BTreeMap<String, String>>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct TestFile {
    /// What it shows, as a sentence.
    name: String,
    /// Input of the run.
    input: Option<BTreeMap<String, Value>>,
    /// Context of the run.
    context: Option<BTreeMap<String, Value>>,
    /// What each node answers, visit by visit; `{fails: timeout}` fails.
    answers: Option<BTreeMap<String, Vec<Value>>>,
    /// Nodes in the order they start.
    path: Option<Names>,
    /// Channels and what they must hold; of an object, a part will do.
    output: Option<BTreeMap<String, Value>>,
    /// How it ends, or where it stays when nobody answers; `done` where nothing is said.
    status: Option<EndFile>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
enum EndFile {
    Done,
    Error,
    Interrupted,
    Waiting,
}

#[derive(JsonSchema)]
enum Language {
    #[schemars(rename = "graph/v1")]
    V1,
}

/// One name or a list of names.
#[derive(JsonSchema)]
#[schemars(untagged)]
enum Names {
    One(String),
    Many(Vec<String>),
}

/// A span of time: 500ms, 5s, 2m, 4h, 1d.
#[derive(JsonSchema)]
#[schemars(extend("pattern" = r"^\d+(\.\d+)?(ms|s|m|h|d)$"))]
struct Span(String);

/// A condition: `chosen is none and visits.propose < 3`.
#[derive(JsonSchema)]
struct Condition(String);

/// `string`, `integer`, `number`, `boolean`, `object`, a named type, or a type written out.
#[derive(JsonSchema)]
#[schemars(untagged)]
enum TypeFile {
    Name(String),
    WrittenOut(TypeMapping),
}

/// `{type: T}`, `{array: T}`, `{enum: [...]}`, or an inline JSON Schema.
#[derive(JsonSchema)]
struct TypeMapping {
    /// A type; in an inline JSON Schema its `type`.
    r#type: Option<Value>,
    /// A list of these.
    array: Option<Box<TypeFile>>,
    /// One of these values.
    r#enum: Option<Vec<Value>>,
    /// May be `null`.
    nullable: Option<bool>,
    /// May be left out by the caller.
    optional: Option<bool>,
}

/// A channel: its type, or its type and how it behaves.
#[derive(JsonSchema)]
#[schemars(untagged)]
enum ChannelFile {
    Name(String),
    WrittenOut(ChannelMapping),
}

#[derive(JsonSchema)]
struct ChannelMapping {
    #[schemars(flatten)]
    r#type: TypeMapping,
    /// How one superstep's writes fold into it; `replace` where nothing is said.
    reducer: Option<ReducerFile>,
    /// How long a value lives; `thread` where nothing is said.
    lifetime: Option<LifetimeFile>,
    /// What it holds before anyone writes.
    default: Option<Value>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
enum ReducerFile {
    Replace,
    Append,
    Merge,
    Union,
    Sum,
    Min,
    Max,
    Messages,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
enum LifetimeFile {
    Thread,
    Run,
    Step,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct LimitsFile {
    /// Supersteps of one run.
    #[schemars(range(min = 1))]
    supersteps: Option<u64>,
    /// Times one node may start in one run.
    #[schemars(range(min = 1))]
    visits_per_node: Option<u64>,
    /// Wall time by the run's clock.
    wall: Option<Span>,
    /// Model tokens.
    #[schemars(range(min = 1))]
    tokens: Option<u64>,
    /// Model cost [USD].
    #[schemars(range(min = 0.0))]
    cost_usd: Option<f64>,
    /// The node that runs instead of failing.
    on_limit: Option<String>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct DefaultsFile {
    /// Longest single attempt.
    timeout: Option<Span>,
    /// When and how to try again.
    retry: Option<RetryFile>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct RetryFile {
    /// Attempts after the first.
    max: Option<u32>,
    /// First pause.
    initial: Option<Span>,
    /// Growth of the pause.
    #[schemars(range(min = 1.0))]
    factor: Option<f64>,
    /// Longest pause.
    cap: Option<Span>,
    /// Draw the pause uniformly from its upper half.
    jitter: Option<bool>,
    /// Classes of error worth another try.
    on: Option<Vec<RetriedFile>>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
enum RetriedFile {
    Timeout,
    Unavailable,
    RateLimited,
}

/// A unit of work: exactly one of `tool`, `agent`, `approval`, `foreach`, `wait`, `set` and `graph`.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, extend("oneOf" = [
    { "required": ["tool"] }, { "required": ["agent"] }, { "required": ["approval"] },
    { "required": ["foreach"] }, { "required": ["wait"] }, { "required": ["set"] },
    { "required": ["graph"] },
]))]
struct NodeFile {
    /// One call of this tool.
    tool: Option<String>,
    /// A model with tools and a typed answer.
    agent: Option<AgentFile>,
    /// A question to a person.
    approval: Option<ApprovalFile>,
    /// One tool call per element of a list.
    foreach: Option<ForeachFile>,
    /// A durable timer or signal.
    wait: Option<WaitFile>,
    /// Channels from templates.
    set: Option<BTreeMap<String, Value>>,
    /// Another graph, run as part of this one.
    graph: Option<SubgraphFile>,
    /// Arguments of the tool; each text in them is a template.
    args: Option<BTreeMap<String, Value>>,
    /// Channels it may read; inferred from its templates where nothing is said.
    reads: Option<Names>,
    /// The channel its result goes to.
    writes: Option<String>,
    /// Longest single attempt.
    timeout: Option<Span>,
    /// When and how to try again.
    retry: Option<RetryFile>,
    /// Look again later instead of moving on.
    repeat: Option<RepeatFile>,
    /// Where errors go, first match; without any the run fails.
    on_error: Option<Vec<OnErrorFile>>,
    /// Remembers its answer for a while, on the same thread.
    cache: Option<CacheFile>,
    /// The run is held here until it is told to go on.
    pause: Option<PauseFile>,
    /// Runs once for several nodes that lead to it.
    join: Option<JoinFile>,
    /// Runs only when nothing else of its graph has anything to do.
    defer: Option<bool>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct SubgraphFile {
    /// Name of the graph.
    name: String,
    /// Its input, from templates.
    r#in: Option<BTreeMap<String, Value>>,
    /// Channels here, from templates over its output.
    out: Option<BTreeMap<String, Value>>,
    /// How long its channels live; `call` where nothing is said.
    memory: Option<MemoryFile>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
enum MemoryFile {
    Call,
    Thread,
    None,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct CacheFile {
    /// How long.
    ttl: Span,
    /// What must be the same, from templates; left out: everything the node may read.
    key: Option<Value>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
enum PauseFile {
    Before,
    After,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct JoinFile {
    /// The nodes it waits for.
    after: Names,
    /// How many of them; `all` where nothing is said.
    need: Option<NeedFile>,
}

/// `all`, `any`, or how many.
#[derive(JsonSchema)]
#[schemars(untagged)]
enum NeedFile {
    Word(NeedWord),
    Many(#[schemars(range(min = 1))] u64),
}

#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
enum NeedWord {
    All,
    Any,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct AgentFile {
    /// File of the prompt.
    prompt: String,
    /// Tools it may call.
    tools: Option<Names>,
    /// Type of its answer.
    output: TypeFile,
    /// Model calls at most.
    #[schemars(range(min = 1))]
    turns: Option<u32>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct ApprovalFile {
    /// File of the question.
    ask: String,
    /// Type of the answer.
    answer: TypeFile,
    /// Answers that grant production effects: `approve` if it is one of the answers, else the first.
    grants: Option<Vec<Value>>,
    /// Waits this long.
    expires: Option<Span>,
    /// The answer when nobody came; never one that grants.
    on_expiry: Option<Value>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct ForeachFile {
    /// Channel with the list.
    r#in: String,
    /// Name of the element in the arguments.
    r#as: String,
    /// Calls at a time, 1 where nothing is said.
    #[schemars(range(min = 1))]
    max_parallel: Option<u32>,
    /// The tool.
    tool: String,
    /// Its arguments.
    args: Option<BTreeMap<String, Value>>,
}

/// `{for: 5m}` or `{signal: name, timeout: 1h}`.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct WaitFile {
    /// This long.
    r#for: Option<Span>,
    /// Until a signal of this name comes.
    signal: Option<String>,
    /// Gives up on the signal after this.
    timeout: Option<Span>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct RepeatFile {
    /// Pause between two looks.
    every: Span,
    /// Condition that ends it, seen after the node's write.
    until: Condition,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct OnErrorFile {
    /// Condition that sees `error.code`, `error.message` and `error.class`; none: always.
    when: Option<Condition>,
    /// Next node, or `end`.
    to: String,
    /// Channels from templates, which see `error`.
    set: Option<BTreeMap<String, Value>>,
}

/// A chain `a -> b -> c`, or a fan-out or choice with `from` and `to`.
#[derive(JsonSchema)]
#[schemars(untagged)]
enum EdgeFile {
    Chain(String),
    Branching(BranchingFile),
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct BranchingFile {
    /// The node it leaves.
    from: String,
    /// One node, a list of nodes that all follow, or conditions of which the first that holds is followed.
    to: TargetsFile,
}

#[derive(JsonSchema)]
#[schemars(untagged)]
enum TargetsFile {
    One(String),
    All(Vec<String>),
    First(Vec<BranchFile>),
}

#[derive(JsonSchema)]
#[schemars(untagged)]
enum BranchFile {
    When(WhenFile),
    Else(ElseFile),
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct WhenFile {
    /// Condition.
    when: Condition,
    /// Next node, or `end`.
    to: String,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct ElseFile {
    /// Next node, or `end`, when no condition holds.
    r#else: String,
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::graph::{cases, channels, edges, kinds, limits, load, migrations, nodes, types};

    fn keys_of(name: &str) -> BTreeSet<String> {
        let schema = schema();
        let holder = if name.is_empty() { &schema } else { &schema["$defs"][name] };
        holder["properties"].as_object().unwrap().keys().cloned().collect()
    }

    #[test]
    fn editors_and_the_loader_know_the_same_keys() {
        let channel_keys = [&types::TYPE_KEYS[..], &channels::CHANNEL_KEYS].concat();
        let pairs: [(&str, &[&str]); 18] = [
            ("", &load::GRAPH_KEYS),
            ("TypeMapping", &types::TYPE_KEYS),
            ("ChannelMapping", &channel_keys),
            ("LimitsFile", &limits::LIMIT_KEYS),
            ("DefaultsFile", &limits::DEFAULT_KEYS),
            ("RetryFile", &limits::RETRY_KEYS),
            ("NodeFile", &nodes::NODE_KEYS),
            ("RepeatFile", &nodes::REPEAT_KEYS),
            ("OnErrorFile", &nodes::ON_ERROR_KEYS),
            ("AgentFile", &kinds::AGENT_KEYS),
            ("ApprovalFile", &kinds::APPROVAL_KEYS),
            ("ForeachFile", &kinds::FOREACH_KEYS),
            ("WaitFile", &kinds::WAIT_KEYS),
            ("SubgraphFile", &kinds::SUBGRAPH_KEYS),
            ("CacheFile", &nodes::CACHE_KEYS),
            ("JoinFile", &nodes::JOIN_KEYS),
            ("TestFile", &cases::TEST_KEYS),
            ("MigrationFile", &migrations::MIGRATION_KEYS),
        ];
        for (name, known) in pairs {
            let known: BTreeSet<String> = known.iter().map(|key| (*key).to_owned()).collect();
            assert_eq!(keys_of(name), known, "{name}");
        }
        assert_eq!(keys_of("BranchingFile"), edges::EDGE_KEYS.map(str::to_owned).into());
        let branch = &keys_of("WhenFile") | &keys_of("ElseFile");
        assert_eq!(branch, edges::BRANCH_KEYS.map(str::to_owned).into());
    }

    #[test]
    fn editors_and_the_loader_know_the_same_words() {
        let schema = schema();
        let words = |name: &str| -> Vec<String> {
            let definition = &schema["$defs"][name];
            let listed = definition["enum"].as_array().into_iter().flatten();
            let described = definition["oneOf"].as_array().into_iter().flatten();
            let all = listed.chain(described.map(|one| &one["const"]));
            all.map(|word| word.as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(words("ReducerFile"), channels::REDUCERS.map(|(name, _)| name.to_owned()));
        assert_eq!(words("LifetimeFile"), channels::LIFETIMES.map(|(name, _)| name.to_owned()));
        assert_eq!(words("MemoryFile"), kinds::MEMORIES.map(|(name, _)| name.to_owned()));
        assert_eq!(words("EndFile"), cases::ENDS.map(str::to_owned));
        assert_eq!(words("RetriedFile"), limits::RETRIED.map(str::to_owned));
    }
}
