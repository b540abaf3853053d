//! Text → proven graph, or everything that is wrong with it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::base::stable_hash;

use super::channels::{self, Channels};
use super::data::{Data, Surroundings};
use super::edges::{self, Edges, RouteDraft};
use super::fields::{Fields, wrong_kind};
use super::finding::{Finding, Findings};
use super::flow::Flow;
use super::kinds::{Body, Call};
use super::limits::{self, LimitsDraft};
use super::nodes::{self, ErrorRoute, NodeDraft, Nodes};
use super::vocabulary::{Source, Vocabulary};
use super::{
    AgentSpec, ApprovalSpec, Cache, EdgeTarget, ForeachSpec, Graph, Join, Kind, Limits, Migration,
    Mode, Node, NodeIx, OnError, Repeat, Route, SubgraphSpec, ToolCallSpec, cases, consent, eager,
    joins, migrations, parallel, yaml,
};

pub(super) const GRAPH_KEYS: [&str; 15] = [
    "schema",
    "name",
    "version",
    "description",
    "input",
    "context",
    "state",
    "output",
    "limits",
    "mode",
    "defaults",
    "nodes",
    "edges",
    "tests",
    "migrations",
];

/// The language this loader reads.
pub(super) const SCHEMA: &str = "graph/v1";

/// Reads a graph file and proves it.
///
/// Errors: everything that is wrong, in the order of the file. YAML that cannot be read to its end is one finding.
pub fn load(source: &Source, vocabulary: &Vocabulary) -> Result<Graph, Vec<Finding>> {
    let mut findings = Findings::new(&source.file);
    let graph = match yaml::parse(&source.text, &mut findings) {
        Some(tree) => read(&tree, &source.text, vocabulary, &mut findings),
        None => None,
    };
    match graph {
        Some(graph) if findings.is_empty() => Ok(graph),
        _ => Err(findings.finish()),
    }
}

/// Everything read, before it becomes a graph.
struct Draft<'t> {
    mode: Mode,
    channels: Channels<'t>,
    limits: LimitsDraft<'t>,
    on_limit: Option<NodeIx>,
    nodes: Nodes<'t>,
    /// Joins by node.
    joins: Vec<Option<Join>>,
    /// Routes of errors by node; an unresolved one is `None`.
    on_error: Vec<Vec<Option<EdgeTarget>>>,
    edges: Edges<'t>,
    /// Channels read by node.
    reads: Vec<BTreeSet<String>>,
}

fn read(
    tree: &yaml::Tree,
    text: &str,
    vocabulary: &Vocabulary,
    findings: &mut Findings,
) -> Option<Graph> {
    let fields = Fields::of(tree, "a graph", &GRAPH_KEYS, findings)?;
    schema_version(&fields, findings);
    let name = fields.require_text("name", findings).map(|(name, _)| name.to_owned());
    let version = fields.whole("version", 1, findings).unwrap_or(1);
    let description = fields.text("description", findings).map_or("", |(text, _)| text).to_owned();

    let channels = channels::read(&fields, &vocabulary.types, findings);
    let limits = limits::limits(&fields, findings);
    let mode = mode(&fields, findings);
    let defaults = limits::defaults(&fields, findings);
    let nodes = nodes::read(&fields, &vocabulary.types, &defaults, findings);
    let edges = edges::read(&fields, text, &nodes, findings);
    let on_error: Vec<Vec<Option<EdgeTarget>>> =
        nodes.list.iter().map(|node| error_targets(node, &nodes, findings)).collect();
    let on_limit = limits.on_limit.and_then(|word| nodes.resolve(word, findings));

    let joins = joins::read(&nodes, &edges, &on_error, on_limit, findings);
    cases::check(&fields, &nodes, &channels, findings);
    let migrations = migrations::read(&fields, version, &channels, &nodes, findings);
    let reads = Vec::new();
    let mut draft =
        Draft { mode, channels, limits, on_limit, nodes, joins, on_error, edges, reads };
    draft.check_flow(&fields, vocabulary, findings);
    draft.check_data(text, vocabulary, findings);
    if !findings.is_empty() {
        return None;
    }
    let version = u32::try_from(version).unwrap_or(u32::MAX);
    let head = Head { name: name?, version, description, migrations };
    draft.build(head, vocabulary)
}

fn schema_version(fields: &Fields<'_>, findings: &mut Findings) {
    if let Some((schema, at)) = fields.require_text("schema", findings)
        && schema != SCHEMA
    {
        let message = format!("`{schema}` is no schema this program reads");
        findings.add("PA007", at, message, format!("write `schema: {SCHEMA}`"));
    }
}

fn mode(fields: &Fields<'_>, findings: &mut Findings) -> Mode {
    match fields.text("mode", findings) {
        Some(("eager", _)) => Mode::Eager,
        None | Some(("superstep", _)) => Mode::Superstep,
        Some(_) => fields
            .get("mode")
            .and_then(|tree| wrong_kind(tree, "mode", "`superstep` or `eager`", findings))
            .unwrap_or_default(),
    }
}

fn error_targets(
    node: &NodeDraft<'_>,
    nodes: &Nodes<'_>,
    findings: &mut Findings,
) -> Vec<Option<EdgeTarget>> {
    let mut always = false;
    let targets = node.on_error.iter().map(|ErrorRoute { when, to, .. }| {
        if always {
            let message = "nothing comes after a route without `when`: this one is never taken";
            findings.add("PA022", to.1, message, "move the route without `when` to the end");
        }
        always |= when.is_none();
        match to.0 {
            "end" => Some(EdgeTarget::End),
            _ => nodes.resolve(*to, findings).map(EdgeTarget::Node),
        }
    });
    targets.collect()
}

impl<'t> Draft<'t> {
    fn check_flow(&self, fields: &Fields<'_>, vocabulary: &Vocabulary, findings: &mut Findings) {
        let Self { nodes, edges, on_error, .. } = self;
        let flow = Flow::new(nodes, edges, on_error, self.on_limit);
        // With an edge that leads to no known node, what is reached is anyone's guess: silence is better than noise.
        let unresolved = on_error.iter().flatten().any(Option::is_none)
            || self.limits.on_limit.is_some() && self.on_limit.is_none();
        if !edges.broken && !unresolved && !edges.start.is_empty() {
            flow.check_reach(nodes, findings);
        }
        let limits_at = fields.get("limits").map(|tree| tree.at);
        flow.check_loops(nodes, &self.limits, limits_at, findings);
        consent::check(&flow, nodes, &vocabulary.tools, findings);
        // What an eager graph must prove is more than this.
        if self.mode == Mode::Superstep {
            parallel::check(nodes, edges, on_error, &self.channels.all, findings);
        }
    }

    fn check_data(&mut self, text: &str, vocabulary: &Vocabulary, findings: &mut Findings) {
        let surroundings = Surroundings::new(&self.channels.context, &self.nodes);
        let data = Data { text, vocabulary, channels: &self.channels, surroundings: &surroundings };
        for route in &self.edges.routes {
            for when in route.ways().iter().filter_map(|way| way.when) {
                data.condition(when, false, findings);
            }
        }
        self.reads = self.nodes.list.iter().map(|node| data.node(node, findings)).collect();
        self.check_written(findings);
        let mut looked = Vec::new();
        if self.mode == Mode::Eager {
            let ways = self.nodes.list.iter().zip(&self.edges.routes);
            looked.extend(ways.map(|(node, route)| data.looked_at(node, route)));
        }
        self.check_mode(&looked, vocabulary, findings);
    }

    /// Reports what the graph's mode does not allow; `looked` are the channels that the ways on from each node look at.
    fn check_mode(
        &self,
        looked: &[BTreeSet<String>],
        vocabulary: &Vocabulary,
        findings: &mut Findings,
    ) {
        eager::check_parts(self.mode, &self.nodes, &self.channels, &vocabulary.graphs, findings);
        if self.mode == Mode::Eager && !self.edges.broken {
            let ways = eager::Ways {
                nodes: &self.nodes,
                edges: &self.edges,
                on_error: &self.on_error,
                joins: &self.joins,
                on_limit: self.on_limit,
            };
            eager::check(&ways, &self.reads, looked, findings);
        }
    }

    /// Reports channels that someone waits for and nobody writes.
    fn check_written(&self, findings: &mut Findings) {
        let mut written: BTreeSet<&str> = self.channels.input.keys().map(String::as_str).collect();
        written.extend(&self.channels.given);
        for node in &self.nodes.list {
            written.extend(node.written().into_keys());
        }
        let read = self.reads.iter().flatten().map(String::as_str);
        let output = self.channels.output.iter().map(|(name, _)| *name);
        let wanted: BTreeSet<&str> = read.chain(output).collect();
        for name in wanted.difference(&written) {
            if let Some(at) = self.channels.at.get(name) {
                let message = format!("`{name}` is read, but no node writes it");
                let hint = "let a node write it, make it an input, or give it a `default`";
                findings.add("PA032", *at, message, hint);
            }
        }
    }
}

struct Head {
    name: String,
    version: u32,
    description: String,
    migrations: Vec<Migration>,
}

impl Draft<'_> {
    /// The graph. `None` only if something could not be read, which is then among the findings.
    fn build(self, head: Head, vocabulary: &Vocabulary) -> Option<Graph> {
        let (supersteps, visits_per_node) = self.limits.bounds(self.nodes.list.len());
        let limits = Limits {
            supersteps,
            visits_per_node,
            wall_ms: self.limits.wall_ms,
            tokens: self.limits.tokens,
            cost_usd: self.limits.cost_usd,
            on_limit: self.on_limit,
        };
        let called: BTreeSet<String> = self
            .nodes
            .list
            .iter()
            .filter_map(|node| node.body.as_ref())
            .flat_map(Body::tools)
            .map(|(tool, _)| tool.to_owned())
            .collect();
        let mut nodes = Vec::with_capacity(self.nodes.list.len());
        let routes = self.edges.routes.into_iter().zip(self.on_error).zip(self.reads);
        let drafts = self.nodes.list.into_iter().zip(self.joins);
        for ((draft, join), ((route, errors), reads)) in drafts.zip(routes) {
            nodes.push(Node { join, ..node(draft, route, errors, reads, vocabulary)? });
        }
        let mut graph = Graph {
            name: head.name,
            version: head.version,
            description: head.description,
            hash: String::new(),
            channels: self.channels.all,
            input: self.channels.input,
            context: self.channels.context,
            output: self.channels.output.into_iter().map(|(name, _)| name.to_owned()).collect(),
            limits,
            mode: self.mode,
            nodes,
            start: self.edges.start,
            migrations: head.migrations,
        };
        graph.hash = hash(&graph, &called, vocabulary);
        Some(graph)
    }
}

/// Hash of what the graph means, prompts included, and of the facts about the tools it calls; comments and layout of the
/// file do not count.
fn hash(graph: &Graph, called: &BTreeSet<String>, vocabulary: &Vocabulary) -> String {
    let tools: BTreeMap<&String, _> =
        called.iter().map(|tool| (tool, vocabulary.tools.get(tool))).collect();
    // Maps with text for keys and finite numbers: there is nothing in them that JSON cannot say.
    let text = |json: serde_json::Result<String>| json.unwrap_or_default();
    stable_hash(&[&text(serde_json::to_string(graph)), &text(serde_json::to_string(&tools))])
}

fn node(
    draft: NodeDraft<'_>,
    route: RouteDraft<'_>,
    errors: Vec<Option<EdgeTarget>>,
    reads: BTreeSet<String>,
    vocabulary: &Vocabulary,
) -> Option<Node> {
    let on_error = draft.on_error.iter().zip(errors).map(|(written, target)| {
        let to = match target? {
            EdgeTarget::End => None,
            EdgeTarget::Node(node) => Some(node),
        };
        let when = written.when.map(|(text, _)| text.to_owned());
        Some(OnError { when, to, set: values(written.set) })
    });
    Some(Node {
        name: draft.name.to_owned(),
        kind: kind(draft.body?, vocabulary)?,
        reads: reads.into_iter().collect(),
        writes: draft.writes.map(|(name, _)| name.to_owned()),
        timeout_ms: draft.timeout_ms,
        retry: draft.retry,
        repeat: draft
            .repeat
            .map(|(every_ms, (until, _))| Repeat { every_ms, until: until.to_owned() }),
        on_error: on_error.collect::<Option<Vec<_>>>()?,
        cache: draft
            .cache
            .map(|cache| Cache { ttl_ms: cache.ttl_ms, key: cache.key.map(yaml::Tree::to_json) }),
        pause: draft.pause,
        join: None,
        defer: draft.defer,
        route: match route {
            RouteDraft::Always(ways) => {
                Route::Always(ways.into_iter().map(|way| way.target).collect())
            }
            RouteDraft::First(ways) => Route::First(
                ways.into_iter()
                    .map(|way| (way.when.map(|(text, _)| text.to_owned()), way.target))
                    .collect(),
            ),
        },
    })
}

/// The prompt that every conversation begins with.
const SYSTEM: &str = "system.md";

fn kind(body: Body<'_>, vocabulary: &Vocabulary) -> Option<Kind> {
    let prompt = |file: &str| vocabulary.prompts.get(file).cloned();
    let call = |call: Call<'_>| ToolCallSpec {
        tool: call.tool.0.to_owned(),
        args: call.args.map_or_else(|| Value::Object(Default::default()), yaml::Tree::to_json),
    };
    Some(match body {
        Body::Tool(spec) => Kind::Tool(call(spec)),
        Body::Agent(agent) => Kind::Agent(AgentSpec {
            prompt: agent.prompt.0.to_owned(),
            prompt_text: prompt(agent.prompt.0)?,
            system_text: prompt(SYSTEM).unwrap_or_default(),
            tools: agent.tools.into_iter().map(|(tool, _)| tool.to_owned()).collect(),
            output: agent.output.schema,
            output_name: agent.output.name.unwrap_or_else(|| "Answer".to_owned()),
            turns: agent.turns,
        }),
        Body::Approval(approval) => Kind::Approval(ApprovalSpec {
            ask: approval.ask.0.to_owned(),
            ask_text: prompt(approval.ask.0)?,
            answer: approval.answer,
            grants: approval.grants,
            expires_ms: approval.expires_ms,
            on_expiry: approval.on_expiry,
        }),
        Body::Foreach(each) => Kind::Foreach(ForeachSpec {
            items: each.items.0.to_owned(),
            element: each.element.0.to_owned(),
            max_parallel: each.max_parallel,
            call: call(each.call),
        }),
        Body::Wait(spec) => Kind::Wait(spec),
        Body::Set(entries) => Kind::Set(values(entries)),
        Body::Graph(sub) => Kind::Graph(Box::new(SubgraphSpec {
            graph: vocabulary.graphs.get(sub.name.0)?.clone(),
            input: values(sub.input),
            output: values(sub.output),
            memory: sub.memory,
        })),
    })
}

fn values(entries: &[yaml::Entry]) -> BTreeMap<String, Value> {
    entries.iter().map(|entry| (entry.key.clone(), entry.value.to_json())).collect()
}
