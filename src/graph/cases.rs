//! `tests`: runs with scripted answers, and what they must come to. They are no part of what the graph means.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::channels::Channels;
use super::fields::{Fields, Word, mapping, text};
use super::finding::{Findings, suggest};
use super::kinds::Body;
use super::nodes::Nodes;
use super::yaml::{self, At, Data, Tree};
use super::{Source, WaitSpec};

pub(super) const TEST_KEYS: [&str; 7] =
    ["name", "input", "context", "answers", "path", "output", "status"];
/// How a tested run may end.
pub(super) const ENDS: [&str; 4] = ["done", "error", "interrupted", "waiting"];
/// Classes of a scripted failure.
const CLASSES: [&str; 6] = ["timeout", "unavailable", "rate_limited", "invalid", "denied", "fatal"];

/// A run with scripted answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// What it shows, as a sentence.
    pub name: String,
    /// Input of the run.
    pub input: Value,
    /// Context of the run.
    pub context: Value,
    /// What each node answers, visit by visit; `path/node` inside a subgraph.
    pub answers: BTreeMap<String, Vec<ScriptedAnswer>>,
    /// Nodes in the order they start, looks of a `repeat` left out; `None`: any.
    pub path: Option<Vec<String>>,
    /// Output channels and what they must hold; of an object, a part will do.
    pub output: BTreeMap<String, Value>,
    /// How it ends: `done`, `error`; or where it stays when nobody answers: `interrupted`, `waiting`.
    pub status: String,
}

/// What a node answers once.
#[derive(Debug, Clone, PartialEq)]
pub enum ScriptedAnswer {
    /// This.
    Value(Value),
    /// It fails, with this class of error.
    Fails(String),
}

/// The tests of a file that was loaded without a finding.
pub fn cases(source: &Source) -> Vec<Case> {
    let mut findings = Findings::new(&source.file);
    let Some(tree) = yaml::parse(&source.text, &mut findings) else { return Vec::new() };
    let Data::Map(entries) = &tree.data else { return Vec::new() };
    let tests = entries.iter().find(|entry| entry.key == "tests");
    let items = tests.map(|entry| &entry.value.data);
    let Some(Data::List(items)) = items else { return Vec::new() };
    items.iter().filter_map(|item| case(item, &mut findings).map(|(case, _)| case)).collect()
}

/// Reports tests that the graph contradicts.
pub(super) fn check(
    graph: &Fields<'_>,
    nodes: &Nodes<'_>,
    channels: &Channels<'_>,
    findings: &mut Findings,
) {
    let mut names = BTreeSet::new();
    for item in graph.list("tests", findings).unwrap_or_default() {
        let Some((case, words)) = case(item, findings) else { continue };
        if !names.insert(case.name.clone()) {
            let message = format!("there is a test `{}` already", case.name);
            findings.add("PA062", item.at, message, "give each a sentence of its own");
        }
        for (node, at) in words.nodes {
            known_node((node, at), nodes, findings);
        }
        for (node, at) in words.answering {
            if known_node((node, at), nodes, findings) {
                needs_answer((node, at), nodes, findings);
            }
        }
        for (name, at) in words.inputs {
            if !channels.input.contains_key(name) {
                let hint = suggest(name, channels.input.keys().map(String::as_str));
                findings.add("PA062", at, format!("`{name}` is no input"), hint);
            }
        }
        for (name, at) in words.outputs {
            if !channels.all.contains_key(name) {
                let hint = suggest(name, channels.all.keys().map(String::as_str));
                findings.add("PA030", at, format!("`{name}` is no channel"), hint);
            }
        }
    }
}

/// Names in a test, with their places.
#[derive(Default)]
struct Words<'t> {
    nodes: Vec<Word<'t>>,
    answering: Vec<Word<'t>>,
    inputs: Vec<Word<'t>>,
    outputs: Vec<Word<'t>>,
}

fn case<'t>(item: &'t Tree, findings: &mut Findings) -> Option<(Case, Words<'t>)> {
    let fields = Fields::of(item, "a test", &TEST_KEYS, findings)?;
    let mut words = Words::default();
    let name = fields.require_text("name", findings);
    let mut answers = BTreeMap::new();
    let entries = fields.get("answers").and_then(|tree| mapping(tree, "answers", findings));
    for entry in entries.unwrap_or_default() {
        words.answering.push((&entry.key, entry.at));
        let Data::List(items) = &entry.value.data else {
            let message = format!("`{}` has no list of answers, one for each visit", entry.key);
            findings.add("PA006", entry.value.at, message, "write `[answer]`");
            continue;
        };
        let each = items.iter().filter_map(|item| answer(item, findings)).collect();
        answers.insert(entry.key.clone(), each);
    }
    if fields.get("path").is_some() {
        words.nodes = fields.words("path", findings).unwrap_or_default();
    }
    let path =
        fields.get("path").map(|_| words.nodes.iter().map(|(n, _)| (*n).to_owned()).collect());
    let mut section = |key: &str| {
        fields.get(key).and_then(|tree| mapping(tree, key, findings)).unwrap_or_default()
    };
    let (input, output) = (section("input"), section("output"));
    section("context");
    words.inputs = input.iter().map(|entry| (entry.key.as_str(), entry.at)).collect();
    words.outputs = output.iter().map(|entry| (entry.key.as_str(), entry.at)).collect();
    let status = match fields.text("status", findings) {
        Some((word, at)) if !ENDS.contains(&word) => {
            findings.add("PA062", at, format!("no run ends `{word}`"), suggest(word, ENDS));
            word
        }
        Some((word, _)) => word,
        None => "done",
    };
    let json = |key: &str| fields.get(key).map_or_else(empty, Tree::to_json);
    let case = Case {
        name: name?.0.to_owned(),
        input: json("input"),
        context: json("context"),
        answers,
        path,
        output: output.iter().map(|entry| (entry.key.clone(), entry.value.to_json())).collect(),
        status: status.to_owned(),
    };
    Some((case, words))
}

fn empty() -> Value {
    Value::Object(serde_json::Map::new())
}

/// `{fails: timeout}`, or the answer itself.
fn answer(item: &Tree, findings: &mut Findings) -> Option<ScriptedAnswer> {
    if let Data::Map(entries) = &item.data
        && let [entry] = entries.as_slice()
        && entry.key == "fails"
    {
        let (class, at) = text(&entry.value, "fails", findings)?;
        if !CLASSES.contains(&class) {
            let message = format!("`{class}` is no class of error");
            findings.add("PA015", at, message, suggest(class, CLASSES));
            return None;
        }
        return Some(ScriptedAnswer::Fails(class.to_owned()));
    }
    Some(ScriptedAnswer::Value(item.to_json()))
}

/// Whether there is such a node; inside a subgraph, whether there is such a subgraph.
fn known_node((path, at): Word<'_>, nodes: &Nodes<'_>, findings: &mut Findings) -> bool {
    let first = path.split('/').next().unwrap_or(path);
    nodes.resolve((first, at), findings).is_some()
}

fn needs_answer((name, at): (&str, At), nodes: &Nodes<'_>, findings: &mut Findings) {
    let body = nodes.by_name.get(name).and_then(|node| nodes.list[*node].body.as_ref());
    let why = match body {
        Some(Body::Set(_)) => "it computes",
        Some(Body::Wait(WaitSpec::For(_))) => "its timer rings",
        Some(Body::Graph(_)) => "the nodes inside it answer: write `subgraph/node`",
        _ => return,
    };
    findings.add("PA062", at, format!("`{name}` needs no answer: {why}"), "leave it out");
}
