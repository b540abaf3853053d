//! `nodes`: what each one is, as written, before anything is proven about it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::channels::is_name;
use super::fields::{Fields, Word, mapping, wrong_kind};
use super::finding::Findings;
use super::kinds::{self, Body};
use super::limits::{self, Defaults};
use super::yaml::{At, Data, Entry, Tree};
use super::{NodeIx, Pause, RetryPolicy};

/// Keys that say what a node is.
pub(super) const KIND_KEYS: [&str; 7] =
    ["tool", "agent", "approval", "foreach", "wait", "set", "graph"];
/// Keys any node may have; `args` goes with `tool`.
pub(super) const NODE_KEYS: [&str; 18] = [
    "tool", "agent", "approval", "foreach", "wait", "set", "graph", "args", "reads", "writes",
    "timeout", "retry", "repeat", "on_error", "cache", "pause", "join", "defer",
];
pub(super) const CACHE_KEYS: [&str; 2] = ["ttl", "key"];
pub(super) const JOIN_KEYS: [&str; 2] = ["after", "need"];
/// Keys of which a subgraph has its own, in its own file.
const NOT_OF_SUBGRAPHS: [&str; 5] = ["writes", "timeout", "retry", "repeat", "cache"];
pub(super) const REPEAT_KEYS: [&str; 2] = ["every", "until"];
pub(super) const ON_ERROR_KEYS: [&str; 3] = ["when", "to", "set"];

/// A node as written.
pub(super) struct NodeDraft<'t> {
    pub(super) name: &'t str,
    pub(super) at: At,
    /// What it does; `None` when that could not be read.
    pub(super) body: Option<Body<'t>>,
    /// Channels it declares to read; `None`: inferred from its templates.
    pub(super) reads: Option<Vec<Word<'t>>>,
    pub(super) writes: Option<Word<'t>>,
    pub(super) timeout_ms: u64,
    pub(super) retry: RetryPolicy,
    /// Pause [ms] and condition.
    pub(super) repeat: Option<(u64, Word<'t>)>,
    pub(super) on_error: Vec<ErrorRoute<'t>>,
    pub(super) cache: Option<CacheDraft<'t>>,
    pub(super) pause: Option<Pause>,
    pub(super) join: Option<JoinDraft<'t>>,
    pub(super) defer: bool,
}

impl<'t> NodeDraft<'t> {
    /// The channels that it may write, each with the first place that says so.
    pub(super) fn written(&self) -> BTreeMap<&'t str, At> {
        let body: &'t [Entry] = match &self.body {
            Some(Body::Set(entries)) => entries,
            Some(Body::Graph(sub)) => sub.output,
            _ => &[],
        };
        let errors = self.on_error.iter().flat_map(|route| route.set);
        let named = body.iter().chain(errors).map(|entry| (entry.key.as_str(), entry.at));
        let mut written = BTreeMap::new();
        for (channel, at) in self.writes.into_iter().chain(named) {
            written.entry(channel).or_insert(at);
        }
        written
    }
}

/// `cache` as written.
pub(super) struct CacheDraft<'t> {
    pub(super) ttl_ms: u64,
    pub(super) key: Option<&'t Tree>,
    pub(super) at: At,
}

/// `join` as written.
pub(super) struct JoinDraft<'t> {
    pub(super) after: Vec<Word<'t>>,
    /// So many; `None`: all.
    pub(super) need: Option<usize>,
    pub(super) at: At,
}

/// Where an error goes.
pub(super) struct ErrorRoute<'t> {
    pub(super) when: Option<Word<'t>>,
    pub(super) to: Word<'t>,
    pub(super) set: &'t [Entry],
}

/// The nodes of a graph, in file order, and their names.
#[derive(Default)]
pub(super) struct Nodes<'t> {
    pub(super) list: Vec<NodeDraft<'t>>,
    pub(super) by_name: BTreeMap<&'t str, NodeIx>,
}

impl Nodes<'_> {
    /// The node of that name, or a finding.
    pub(super) fn resolve(&self, (name, at): Word<'_>, findings: &mut Findings) -> Option<NodeIx> {
        let found = self.by_name.get(name).copied();
        if found.is_none() {
            let known = self.by_name.keys().copied().chain(["end"]);
            let hint = findings.suggest(name, known);
            findings.add("PA010", at, format!("unknown node `{name}`"), hint);
        }
        found
    }
}

pub(super) fn read<'t>(
    graph: &Fields<'t>,
    types: &BTreeMap<String, Value>,
    defaults: &Defaults,
    findings: &mut Findings,
) -> Nodes<'t> {
    let mut nodes = Nodes::default();
    let Some(tree) = graph.require("nodes", findings) else { return nodes };
    let entries = mapping(tree, "nodes", findings).unwrap_or_default();
    for entry in entries {
        if entry.key == "start" || entry.key == "end" {
            let message = format!("a node cannot be named `{}`: edges use it", entry.key);
            findings.add("PA008", entry.at, message, "choose another name");
            continue;
        }
        if is_name(&entry.key, entry.at, "nodes", findings) {
            nodes.by_name.insert(&entry.key, nodes.list.len());
            nodes.list.push(node(entry, types, defaults, findings));
        }
    }
    nodes
}

fn node<'t>(
    entry: &'t Entry,
    types: &BTreeMap<String, Value>,
    defaults: &Defaults,
    findings: &mut Findings,
) -> NodeDraft<'t> {
    let mut draft = NodeDraft {
        name: &entry.key,
        at: entry.at,
        body: None,
        reads: None,
        writes: None,
        timeout_ms: defaults.timeout_ms,
        retry: defaults.retry.clone(),
        repeat: None,
        on_error: Vec::new(),
        cache: None,
        pause: None,
        join: None,
        defer: false,
    };
    let Some(fields) = Fields::of(&entry.value, "a node", &NODE_KEYS, findings) else {
        return draft;
    };
    draft.body = body(entry, &fields, types, findings);
    draft.reads = fields.words("reads", findings);
    draft.writes = fields.text("writes", findings);
    if let Some(timeout_ms) = fields.duration_ms("timeout", findings) {
        draft.timeout_ms = timeout_ms;
    }
    if let Some(tree) = fields.get("retry") {
        draft.retry = limits::retry(tree, &defaults.retry, findings);
    }
    draft.repeat = repeat(&fields, findings);
    draft.on_error = on_error(&fields, findings);
    draft.cache = cache(&fields, findings);
    draft.pause = pause(&fields, findings);
    draft.join = join(&fields, findings);
    draft.defer = fields.bool("defer", findings).unwrap_or(false);
    draft
}

fn body<'t>(
    entry: &'t Entry,
    fields: &Fields<'t>,
    types: &BTreeMap<String, Value>,
    findings: &mut Findings,
) -> Option<Body<'t>> {
    let mut kinds = KIND_KEYS.iter().filter_map(|key| fields.entry(key));
    let Some(kind) = kinds.next() else {
        let message = format!("node `{}` does not say what it does", entry.key);
        let hint = format!("add one of {}", KIND_KEYS.join(", "));
        findings.add("PA005", entry.at, message, hint);
        return None;
    };
    for other in kinds {
        let message = format!("a node is one thing: `{}` or `{}`", kind.key, other.key);
        findings.add("PA006", other.at, message, "make two nodes of it");
    }
    if let Some(args) = fields.entry("args").filter(|_| kind.key != "tool") {
        let message = format!("`args` goes with `tool`, not with `{}`", kind.key);
        findings.add("PA004", args.at, message, "");
    }
    if let (Some(writes), "set") = (fields.entry("writes"), kind.key.as_str()) {
        let message = "a `set` node names its channels itself";
        findings.add("PA004", writes.at, message, "leave out `writes`");
    }
    if kind.key == "graph" {
        for stray in NOT_OF_SUBGRAPHS.iter().filter_map(|key| fields.entry(key)) {
            let message = format!("`{}` does not go with `graph`", stray.key);
            let hint = match stray.key.as_str() {
                "writes" => "name its channels in `out`",
                _ => "say it in the subgraph's own file",
            };
            findings.add("PA004", stray.at, message, hint);
        }
    }
    kinds::read(kind, fields, types, findings)
}

fn cache<'t>(node: &Fields<'t>, findings: &mut Findings) -> Option<CacheDraft<'t>> {
    let fields = Fields::of(node.get("cache")?, "`cache`", &CACHE_KEYS, findings)?;
    fields.require("ttl", findings);
    let ttl_ms = fields.duration_ms("ttl", findings)?;
    if let Some(repeat) = node.entry("repeat") {
        let message = "a node that repeats looks anew each time: it cannot have a `cache`";
        findings.add("PA029", repeat.at, message, "leave one of the two out");
    }
    Some(CacheDraft { ttl_ms, key: fields.get("key"), at: fields.at })
}

fn pause(node: &Fields<'_>, findings: &mut Findings) -> Option<Pause> {
    let (word, _) = node.text("pause", findings)?;
    match word {
        "before" => Some(Pause::Before),
        "after" => Some(Pause::After),
        _ => wrong_kind(node.get("pause")?, "pause", "`before` or `after`", findings),
    }
}

fn join<'t>(node: &Fields<'t>, findings: &mut Findings) -> Option<JoinDraft<'t>> {
    let fields = Fields::of(node.get("join")?, "`join`", &JOIN_KEYS, findings)?;
    fields.require("after", findings);
    let after = fields.words("after", findings)?;
    let need = fields.get("need").and_then(|tree| match &tree.data {
        Data::Text(word) if word == "all" => None,
        Data::Text(word) if word == "any" => Some(1),
        Data::Number(number) if number.as_u64().is_some_and(|n| n > 0) => {
            usize::try_from(number.as_u64()?).ok()
        }
        _ => wrong_kind(tree, "need", "`all`, `any` or a whole number, at least 1", findings),
    });
    Some(JoinDraft { after, need, at: fields.at })
}

fn repeat<'t>(node: &Fields<'t>, findings: &mut Findings) -> Option<(u64, Word<'t>)> {
    let fields = Fields::of(node.get("repeat")?, "`repeat`", &REPEAT_KEYS, findings)?;
    fields.require("every", findings);
    let until = fields.require_text("until", findings);
    Some((fields.duration_ms("every", findings)?, until?))
}

fn on_error<'t>(node: &Fields<'t>, findings: &mut Findings) -> Vec<ErrorRoute<'t>> {
    let items = node.list("on_error", findings).unwrap_or_default();
    let routes = items.iter().filter_map(|item| {
        let fields = Fields::of(item, "a route of `on_error`", &ON_ERROR_KEYS, findings)?;
        let when = fields.text("when", findings);
        let set = match fields.get("set") {
            Some(tree) => mapping(tree, "set", findings).unwrap_or_default(),
            None => &[],
        };
        let to = fields.require_text("to", findings)?;
        Some(ErrorRoute { when, to, set })
    });
    routes.collect()
}
