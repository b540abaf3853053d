//! The kinds of node, as written.

use std::collections::BTreeMap;

use serde_json::Value;

use super::channels::is_name;
use super::fields::{Fields, Word, mapping};
use super::finding::{Findings, suggest};
use super::types::{self, Type};
use super::yaml::{At, Data, Entry, Tree};
use super::{Memory, WaitSpec};

pub(super) const AGENT_KEYS: [&str; 4] = ["prompt", "tools", "output", "turns"];
pub(super) const APPROVAL_KEYS: [&str; 5] = ["ask", "answer", "expires", "on_expiry", "grants"];
pub(super) const FOREACH_KEYS: [&str; 5] = ["in", "as", "max_parallel", "tool", "args"];
pub(super) const SUBGRAPH_KEYS: [&str; 4] = ["name", "in", "out", "memory"];
pub(super) const MEMORIES: [(&str, Memory); 3] =
    [("call", Memory::Call), ("thread", Memory::Thread), ("none", Memory::None)];
pub(super) const WAIT_KEYS: [&str; 3] = ["for", "signal", "timeout"];

/// Model calls of an agent that does not say: one to look, a few to use tools, one to answer.
const TURNS: u64 = 8;

/// What a node does.
pub(super) enum Body<'t> {
    Tool(Call<'t>),
    Agent(Agent<'t>),
    Approval(Approval<'t>),
    Foreach(Foreach<'t>),
    Wait(WaitSpec),
    Set(&'t [Entry]),
    Graph(Subgraph<'t>),
}

/// Another graph as a node.
pub(super) struct Subgraph<'t> {
    pub(super) name: Word<'t>,
    pub(super) input: &'t [Entry],
    pub(super) output: &'t [Entry],
    pub(super) memory: Memory,
}

/// A call of a tool.
pub(super) struct Call<'t> {
    pub(super) tool: Word<'t>,
    pub(super) args: Option<&'t Tree>,
}

/// A model with tools.
pub(super) struct Agent<'t> {
    pub(super) prompt: Word<'t>,
    pub(super) tools: Vec<Word<'t>>,
    pub(super) output: Type,
    pub(super) output_at: At,
    pub(super) turns: u32,
}

/// A question to a person.
pub(super) struct Approval<'t> {
    pub(super) ask: Word<'t>,
    pub(super) answer: Value,
    pub(super) grants: Vec<Value>,
    pub(super) expires_ms: Option<u64>,
    pub(super) on_expiry: Option<Value>,
}

/// A call per element.
pub(super) struct Foreach<'t> {
    pub(super) items: Word<'t>,
    pub(super) element: Word<'t>,
    pub(super) max_parallel: usize,
    pub(super) call: Call<'t>,
}

impl<'t> Body<'t> {
    /// Tools it may call.
    pub(super) fn tools(&self) -> Vec<Word<'t>> {
        match self {
            Body::Tool(call) => vec![call.tool],
            Body::Foreach(each) => vec![each.call.tool],
            Body::Agent(agent) => agent.tools.clone(),
            // What a subgraph calls was proven where it was loaded.
            Body::Approval(_) | Body::Wait(_) | Body::Set(_) | Body::Graph(_) => Vec::new(),
        }
    }
}

/// Reads the body of a node, whose kind is the key of `kind`.
pub(super) fn read<'t>(
    kind: &'t Entry,
    node: &Fields<'t>,
    types: &BTreeMap<String, Value>,
    findings: &mut Findings,
) -> Option<Body<'t>> {
    let tree = &kind.value;
    match kind.key.as_str() {
        "tool" => call(node, findings).map(Body::Tool),
        "agent" => agent(tree, types, findings).map(Body::Agent),
        "approval" => approval(tree, types, findings).map(Body::Approval),
        "foreach" => foreach(tree, findings).map(Body::Foreach),
        "wait" => wait(tree, findings).map(Body::Wait),
        "graph" => subgraph(tree, findings).map(Body::Graph),
        _ => mapping(tree, "set", findings).map(Body::Set),
    }
}

fn call<'t>(fields: &Fields<'t>, findings: &mut Findings) -> Option<Call<'t>> {
    let args = fields.get("args");
    if let Some(args) = args {
        mapping(args, "args", findings);
    }
    Some(Call { tool: fields.require_text("tool", findings)?, args })
}

fn agent<'t>(
    tree: &'t Tree,
    types: &BTreeMap<String, Value>,
    findings: &mut Findings,
) -> Option<Agent<'t>> {
    let fields = Fields::of(tree, "an agent", &AGENT_KEYS, findings)?;
    let prompt = fields.require_text("prompt", findings);
    let tools = fields.words("tools", findings).unwrap_or_default();
    let output_tree = fields.require("output", findings);
    let output = output_tree.and_then(|tree| types::read(tree, &[], types, findings));
    let turns = fields.whole("turns", 1, findings).unwrap_or(TURNS);
    Some(Agent {
        prompt: prompt?,
        tools,
        output: output?,
        output_at: output_tree?.at,
        turns: u32::try_from(turns).unwrap_or(u32::MAX),
    })
}

fn approval<'t>(
    tree: &'t Tree,
    types: &BTreeMap<String, Value>,
    findings: &mut Findings,
) -> Option<Approval<'t>> {
    let fields = Fields::of(tree, "an approval", &APPROVAL_KEYS, findings)?;
    let ask = fields.require_text("ask", findings);
    let answer = fields.require("answer", findings);
    let answer = answer.and_then(|tree| types::read(tree, &[], types, findings));
    let expires_ms = fields.duration_ms("expires", findings);
    let (ask, answer) = (ask?, answer?.schema);
    let grants = grants(&fields, &answer, findings);
    let on_expiry = on_expiry(&fields, &answer, &grants, findings);
    Some(Approval { ask, answer, grants, expires_ms, on_expiry })
}

/// The answers that grant: those written, else `approve` where it is one of the answers, else the first of them.
fn grants(fields: &Fields<'_>, answer: &Value, findings: &mut Findings) -> Vec<Value> {
    let answers = answer.get("enum").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let Some(written) = fields.list("grants", findings) else {
        let approve = answers.iter().find(|answer| answer.as_str() == Some("approve"));
        return approve.or(answers.first()).cloned().into_iter().collect();
    };
    written.iter().filter_map(|tree| fitting_answer(tree, "grants", answer, findings)).collect()
}

fn on_expiry(
    fields: &Fields<'_>,
    answer: &Value,
    grants: &[Value],
    findings: &mut Findings,
) -> Option<Value> {
    match (fields.entry("expires"), fields.entry("on_expiry")) {
        (None, None) => None,
        (Some(expires), None) => {
            let hint = "add `on_expiry:` with the answer then";
            findings.add("PA061", expires.at, "`expires` without `on_expiry`", hint);
            None
        }
        (None, Some(entry)) => {
            let message = "`on_expiry` without `expires`: it would never come to that";
            findings.add("PA061", entry.at, message, "add `expires: 24h`");
            None
        }
        (Some(_), Some(entry)) => {
            let value = fitting_answer(&entry.value, "on_expiry", answer, findings)?;
            if grants.contains(&value) {
                let message = format!("silence would grant: {value} is among the granting answers");
                let hint = "name an answer that grants nothing";
                findings.add("PA061", entry.value.at, message, hint);
            }
            Some(value)
        }
    }
}

fn fitting_answer(
    tree: &Tree,
    what: &str,
    answer: &Value,
    findings: &mut Findings,
) -> Option<Value> {
    let value = tree.to_json();
    let error = jsonschema::validator_for(answer)
        .ok()
        .and_then(|validator| validator.validate(&value).err().map(|error| error.to_string()));
    if let Some(error) = error {
        let message = format!("`{what}` is no possible answer: {error}");
        findings.add("PA061", tree.at, message, "");
        return None;
    }
    Some(value)
}

fn foreach<'t>(tree: &'t Tree, findings: &mut Findings) -> Option<Foreach<'t>> {
    let fields = Fields::of(tree, "a foreach", &FOREACH_KEYS, findings)?;
    let items = fields.require_text("in", findings);
    let element = fields.require_text("as", findings);
    let named = element.is_some_and(|(name, at)| is_name(name, at, "a foreach", findings));
    let max_parallel = fields.whole("max_parallel", 1, findings).unwrap_or(1);
    let call = call(&fields, findings);
    Some(Foreach {
        items: items?,
        element: element.filter(|_| named)?,
        max_parallel: usize::try_from(max_parallel).unwrap_or(usize::MAX),
        call: call?,
    })
}

fn subgraph<'t>(tree: &'t Tree, findings: &mut Findings) -> Option<Subgraph<'t>> {
    let fields = Fields::of(tree, "a subgraph", &SUBGRAPH_KEYS, findings)?;
    let name = fields.require_text("name", findings);
    let mut section = |key: &str| match fields.get(key) {
        Some(tree) => mapping(tree, key, findings).unwrap_or_default(),
        None => &[],
    };
    let (input, output) = (section("in"), section("out"));
    let memory = fields.text("memory", findings).map(|(word, at)| {
        let known = MEMORIES.iter().find(|(name, _)| *name == word).map(|(_, memory)| *memory);
        if known.is_none() {
            let message = format!("`{word}` is no memory of a subgraph");
            findings.add("PA015", at, message, suggest(word, MEMORIES.map(|(name, _)| name)));
        }
        known.unwrap_or(Memory::Call)
    });
    Some(Subgraph { name: name?, input, output, memory: memory.unwrap_or(Memory::Call) })
}

fn wait(tree: &Tree, findings: &mut Findings) -> Option<WaitSpec> {
    let fields = Fields::of(tree, "a wait", &WAIT_KEYS, findings)?;
    let pause_ms = fields.duration_ms("for", findings);
    let signal = fields.text("signal", findings);
    let timeout_ms = fields.duration_ms("timeout", findings);
    match (fields.entry("for"), fields.entry("signal")) {
        (Some(_), None) => {
            if let Some(timeout) = fields.entry("timeout") {
                let message = "a timer needs no `timeout`: it always rings";
                findings.add("PA004", timeout.at, message, "leave it out");
            }
            pause_ms.map(WaitSpec::For)
        }
        (None, Some(_)) => {
            signal.map(|(name, _)| WaitSpec::Signal { name: name.to_owned(), timeout_ms })
        }
        (None, None) if matches!(&tree.data, Data::Map(_)) => {
            let hint = "add `for: 5m` or `signal: name`";
            findings.add("PA005", tree.at, "a wait lacks `for` or `signal`", hint);
            None
        }
        (None, None) => None,
        (Some(_), Some(entry)) => {
            let hint = "for a signal that may not come: `signal: name, timeout: 5m`";
            findings.add("PA006", entry.at, "a wait is for a time or for a signal", hint);
            None
        }
    }
}
