//! What flows: reads, writes, templates, arguments and results, checked against channels, tools and prompts.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::channels::Channels;
use super::edges::RouteDraft;
use super::fields::{Word, shortened};
use super::finding::{Findings, suggest};
use super::kinds::{Agent, Body, Call, Foreach, Subgraph};
use super::limits::LIMIT_KEYS;
use super::nodes::{NodeDraft, Nodes};
use super::scan::{self, Scanned};
use super::shape::{Kinds, Shape};
use super::types::array_of;
use super::typing::{Fault, Scope};
use super::values::Filling;
use super::vocabulary::{Effect, ToolFacts, Vocabulary};
use super::yaml::{At, Entry};
use super::{Expression, Graph, Reducer, WaitSpec};

/// Schemas of the names that are no channels.
pub(super) struct Surroundings {
    context: Value,
    visits: Value,
    limits: Value,
    error: Value,
}

impl Surroundings {
    pub(super) fn new(context: &BTreeMap<String, Value>, nodes: &Nodes<'_>) -> Self {
        let closed = |properties: serde_json::Map<String, Value>| json!({ "type": "object", "properties": properties, "additionalProperties": false });
        let context = context.iter().map(|(name, schema)| (name.clone(), schema.clone()));
        let visits =
            nodes.list.iter().map(|node| (node.name.to_owned(), json!({ "type": "integer" })));
        let numbers = LIMIT_KEYS[..5].iter().map(|key| {
            // `wall` is written with its unit and seen as a number with its unit.
            let key = if *key == "wall" { "wall_ms" } else { key };
            (key.to_owned(), json!({ "type": ["number", "null"] }))
        });
        let texts = ["code", "message", "class"];
        let texts = texts.map(|key| (key.to_owned(), json!({ "type": "string" })));
        Self {
            context: closed(context.collect()),
            visits: closed(visits.collect()),
            limits: closed(numbers.collect()),
            error: closed(texts.into_iter().collect()),
        }
    }
}

/// Checks the flow of data.
pub(super) struct Data<'l, 't> {
    pub(super) text: &'l str,
    pub(super) vocabulary: &'l Vocabulary,
    pub(super) channels: &'l Channels<'t>,
    pub(super) surroundings: &'l Surroundings,
}

impl<'l, 't> Data<'l, 't> {
    /// Checks a node; answers with the channels it reads.
    pub(super) fn node(&self, node: &NodeDraft<'t>, findings: &mut Findings) -> BTreeSet<String> {
        for (name, at) in node.reads.iter().flatten() {
            self.declared(name, *at, "read", findings);
        }
        if let Some((name, at)) = node.writes {
            self.declared(name, at, "written", findings);
        }
        if let Some((_, until)) = node.repeat {
            self.condition(until, false, findings);
        }
        for route in &node.on_error {
            if let Some(when) = route.when {
                self.condition(when, true, findings);
            }
            let scope =
                Scope { channels: &self.channels.all, readable: None, others: self.others(true) };
            // It looks at the state when the error is there: the node need not read what it uses.
            self.set(route.set, &scope, &mut BTreeSet::new(), findings);
        }
        let mut used = BTreeSet::new();
        self.cache(node, &mut used, findings);
        match &node.body {
            None | Some(Body::Wait(_)) => {}
            Some(Body::Tool(call)) => self.call(call, &self.scope(node), &mut used, findings),
            Some(Body::Foreach(each)) => self.foreach(node, each, &mut used, findings),
            Some(Body::Agent(agent)) => self.agent(node, agent, &mut used, findings),
            Some(Body::Approval(approval)) => {
                self.prompt(node, approval.ask, &mut used, findings);
            }
            Some(Body::Set(entries)) => {
                self.set(entries, &self.scope(node), &mut used, findings);
            }
            Some(Body::Graph(sub)) => self.subgraph(node, sub, &mut used, findings),
        }
        self.result(node, findings);
        let declared = node.reads.iter().flatten().map(|(name, _)| (*name).to_owned());
        used.extend(declared);
        used
    }

    /// The channels that the ways on from a node look at: conditions, and what its error routes write.
    pub(super) fn looked_at(
        &self,
        node: &NodeDraft<'t>,
        route: &RouteDraft<'t>,
    ) -> BTreeSet<String> {
        let ways = route.ways().iter().filter_map(|way| way.when);
        let errors = node.on_error.iter().filter_map(|route| route.when);
        let until = node.repeat.map(|(_, until)| until);
        let mut looked = BTreeSet::new();
        for (text, _) in ways.chain(errors).chain(until) {
            if let Ok(condition) = Expression::compile(text) {
                looked.extend(condition.names().iter().cloned());
            }
        }
        let scope =
            Scope { channels: &self.channels.all, readable: None, others: self.others(true) };
        for route in &node.on_error {
            // Its faults are reported where the node is checked.
            self.set(route.set, &scope, &mut looked, &mut Findings::new(""));
        }
        looked.retain(|name| self.channels.all.contains_key(name));
        looked
    }

    /// Checks values that go to channels.
    fn set(
        &self,
        entries: &[Entry],
        scope: &Scope<'_>,
        used: &mut BTreeSet<String>,
        findings: &mut Findings,
    ) {
        for entry in entries {
            self.declared(&entry.key, entry.at, "written", findings);
            let want = self.channels.all.get(&entry.key);
            let want = want.map(|channel| Shape::new(&channel.schema));
            let mut filling = Filling::new(self.text, scope, used, findings);
            filling.value(&entry.value, want, &format!("`{}`", entry.key), "PA043");
        }
    }

    /// Checks that what is remembered may be: questions, waits and changes to the world must happen.
    fn cache(&self, node: &NodeDraft<'t>, used: &mut BTreeSet<String>, findings: &mut Findings) {
        let Some(cache) = &node.cache else { return };
        let must_happen = match &node.body {
            Some(Body::Approval(_)) => Some("a question must be asked each time".to_owned()),
            Some(Body::Wait(_)) => Some("a wait must be waited for each time".to_owned()),
            Some(body) => {
                let facts = |tool: &Word<'_>| self.vocabulary.tools.get(tool.0);
                let changes =
                    |tool: &Word<'_>| facts(tool).is_some_and(|f| f.effect != Effect::Read);
                let changing = body.tools().into_iter().find(changes);
                changing.map(|(tool, _)| format!("`{tool}` changes things: it must be called"))
            }
            None => None,
        };
        if let Some(message) = must_happen {
            findings.add("PA029", cache.at, message, "leave out `cache`");
        }
        if let Some(key) = cache.key {
            let scope = self.scope(node);
            Filling::new(self.text, &scope, used, findings).value(key, None, "`key`", "PA043");
        }
    }

    /// Checks what goes into a subgraph and what comes out of it.
    fn subgraph(
        &self,
        node: &NodeDraft<'t>,
        sub: &Subgraph<'t>,
        used: &mut BTreeSet<String>,
        findings: &mut Findings,
    ) {
        let Some(graph) = self.vocabulary.graphs.get(sub.name.0) else {
            self.unknown_graph(sub.name, findings);
            return;
        };
        let scope = self.scope(node);
        for entry in sub.input {
            let want = graph.input.contains_key(&entry.key).then(|| graph.channels.get(&entry.key));
            if want.is_none() {
                let message = format!("graph `{}` has no input `{}`", graph.name, entry.key);
                let hint = suggest(&entry.key, graph.input.keys().map(String::as_str));
                findings.add("PA040", entry.at, message, hint);
            }
            let want = want.flatten().map(|channel| Shape::new(&channel.schema));
            let mut filling = Filling::new(self.text, &scope, used, findings);
            filling.value(&entry.value, want, &format!("input `{}`", entry.key), "PA042");
        }
        let given = |name: &String| sub.input.iter().any(|entry| entry.key == *name);
        for (name, _) in graph.input.iter().filter(|(name, needed)| **needed && !given(name)) {
            let message = format!("graph `{}` needs the input `{name}`", graph.name);
            findings.add("PA041", sub.name.1, message, format!("add `{name}:` to `in`"));
        }
        self.subgraph_context(sub, graph, findings);
        let output = |name: &String| Some((name.clone(), graph.channels.get(name)?.clone()));
        let channels = graph.output.iter().filter_map(output).collect();
        let others = vec![("context", &self.surroundings.context)];
        let inner = Scope { channels: &channels, readable: None, others };
        self.set(sub.output, &inner, &mut BTreeSet::new(), findings);
    }

    /// Checks that a subgraph finds the context it declares: it is handed on by name.
    fn subgraph_context(&self, sub: &Subgraph<'t>, graph: &Graph, findings: &mut Findings) {
        for (name, schema) in &graph.context {
            let want = Shape::new(schema);
            let misfit = match self.channels.context.get(name) {
                Some(have) => Shape::new(have).misfit(want),
                None => (want.refuses(&Value::Null).is_some())
                    .then(|| "it is not declared here".to_owned()),
            };
            if let Some(why) = misfit {
                let message = format!("graph `{}` needs `context.{name}`: {why}", graph.name);
                let hint = format!("declare `{name}` in `context` as that graph does");
                findings.add("PA045", sub.name.1, message, hint);
            }
        }
    }

    fn unknown_graph(&self, (name, at): Word<'_>, findings: &mut Findings) {
        if self.vocabulary.circular.contains(name) {
            let message = format!("graph `{name}` includes this one, directly or not");
            findings.add("PA027", at, message, "a graph cannot be part of itself");
            return;
        }
        let hint = suggest(name, self.vocabulary.graphs.keys().map(String::as_str));
        findings.add("PA027", at, format!("unknown graph `{}`", shortened(name)), hint);
    }

    fn declared(&self, name: &str, at: At, done: &str, findings: &mut Findings) {
        if self.channels.all.contains_key(name) {
            return;
        }
        let code = if done == "read" { "PA030" } else { "PA031" };
        if self.channels.context.contains_key(name) {
            let message = format!("`{name}` is context, not a channel: it cannot be {done} here");
            findings.add(code, at, message, format!("expressions see it as `context.{name}`"));
            return;
        }
        let hint = findings.suggest(name, self.channels.all.keys().map(String::as_str));
        findings.add(code, at, format!("`{name}` is {done} but not declared"), hint);
    }

    /// What a node's templates may use.
    fn scope(&self, node: &NodeDraft<'t>) -> Scope<'l> {
        let readable = node.reads.as_ref().map(|reads| {
            let declared =
                reads.iter().filter_map(|(read, _)| self.channels.all.get_key_value(*read));
            declared.map(|(name, _)| name.as_str()).collect()
        });
        Scope { channels: &self.channels.all, readable, others: self.others(false) }
    }

    fn others(&self, error: bool) -> Vec<(&'l str, &'l Value)> {
        let Surroundings { context, visits, limits, error: schema } = self.surroundings;
        let mut others = vec![("context", context), ("visits", visits), ("limits", limits)];
        if error {
            others.push(("error", schema));
        }
        others
    }

    /// Checks a condition, which may look at every channel.
    pub(super) fn condition(&self, (text, at): Word<'_>, error: bool, findings: &mut Findings) {
        let scope =
            Scope { channels: &self.channels.all, readable: None, others: self.others(error) };
        match scan::condition(text, &scope) {
            Ok(faults) => report(faults, self.text, text, at, "", findings),
            Err(why) => {
                let message = format!("not an expression: {why}");
                findings.add("PA018", at, message, "write it as in `a.b > 1 and c == 'x'`");
            }
        }
    }

    fn facts(&self, (tool, at): Word<'_>, findings: &mut Findings) -> Option<&'l ToolFacts> {
        let facts = self.vocabulary.tools.get(tool);
        if facts.is_none() {
            let hint = suggest(tool, self.vocabulary.tools.keys().map(String::as_str));
            findings.add("PA011", at, format!("unknown tool `{}`", shortened(tool)), hint);
        }
        facts
    }

    fn call(
        &self,
        call: &Call<'t>,
        scope: &Scope<'_>,
        used: &mut BTreeSet<String>,
        findings: &mut Findings,
    ) {
        let facts = self.facts(call.tool, findings);
        let want = facts.map(|facts| Shape::new(&facts.args));
        let mut filling = Filling::new(self.text, scope, used, findings);
        filling.arguments(call.args, want, call.tool);
    }

    fn foreach(
        &self,
        node: &NodeDraft<'t>,
        each: &Foreach<'t>,
        used: &mut BTreeSet<String>,
        findings: &mut Findings,
    ) {
        let ((items, at), (element, element_at)) = (each.items, each.element);
        self.declared(items, at, "read", findings);
        used.insert(items.to_owned());
        if self.channels.all.contains_key(element) {
            let message = format!("`{element}` is a channel already");
            findings.add("PA008", element_at, message, "give the element another name");
        }
        let readable = node.reads.as_ref();
        if readable.is_some_and(|reads| !reads.iter().any(|(name, _)| *name == items)) {
            let message = format!("`{items}` is used here but not among the node's `reads`");
            findings.add("PA030", at, message, format!("add `{items}` to `reads`"));
        }
        let list = self.channels.all.get(items).map(|channel| Shape::new(&channel.schema));
        if let Some(kinds) = list.map(Shape::kinds).filter(|kinds| !kinds.meets(Kinds::LIST)) {
            let message = format!("`{items}` holds {kinds}, not a list");
            findings.add("PA044", at, message, "name a channel that holds a list");
        }
        let schema = list.and_then(Shape::element_schema).unwrap_or(Value::Bool(true));
        let mut scope = self.scope(node);
        scope.others.push((element, &schema));
        self.call(&each.call, &scope, used, findings);
    }

    fn agent(
        &self,
        node: &NodeDraft<'t>,
        agent: &Agent<'t>,
        used: &mut BTreeSet<String>,
        findings: &mut Findings,
    ) {
        for tool in &agent.tools {
            self.facts(*tool, findings);
        }
        self.prompt(node, agent.prompt, used, findings);
    }

    fn prompt(
        &self,
        node: &NodeDraft<'t>,
        (file, at): Word<'_>,
        used: &mut BTreeSet<String>,
        findings: &mut Findings,
    ) {
        let Some(text) = self.vocabulary.prompts.get(file) else {
            let hint = suggest(file, self.vocabulary.prompts.keys().map(String::as_str));
            findings.add("PA013", at, format!("unknown prompt `{}`", shortened(file)), hint);
            return;
        };
        match scan::template(text, &self.scope(node)) {
            Ok(Scanned { faults, used: names, .. }) => {
                used.extend(names);
                report(faults, self.text, "", at, &format!("prompt `{file}`: "), findings);
            }
            Err(why) => {
                findings.add("PA018", at, format!("prompt `{file}` is no template: {why}"), "");
            }
        }
    }

    /// The schema of what a node answers; `None`: unknown, or it answers nothing.
    fn produced(&self, node: &NodeDraft<'t>) -> Option<Value> {
        let output = |tool: Word<'_>| Some(self.vocabulary.tools.get(tool.0)?.output.clone());
        match node.body.as_ref()? {
            Body::Tool(call) => output(call.tool),
            Body::Foreach(each) => output(each.call.tool).map(array_of),
            Body::Agent(agent) => Some(agent.output.schema.clone()),
            Body::Approval(approval) => Some(approval.answer.clone()),
            Body::Wait(_) | Body::Set(_) | Body::Graph(_) => None,
        }
    }

    /// Checks that the answer of a node fits where it goes, and goes somewhere if it was asked for.
    fn result(&self, node: &NodeDraft<'t>, findings: &mut Findings) {
        let Some((name, at)) = node.writes else {
            let lost = match &node.body {
                Some(Body::Agent(agent)) => Some(agent.output_at),
                Some(Body::Approval(_)) => Some(node.at),
                _ => None,
            };
            if let Some(at) = lost {
                let message = format!("the answer of `{}` goes nowhere", node.name);
                findings.add("PA032", at, message, "add `writes:` with a channel");
            }
            return;
        };
        if matches!(node.body, Some(Body::Wait(WaitSpec::For(_)))) {
            let message = "a timer has nothing to write";
            findings.add("PA043", at, message, "leave out `writes`");
        }
        let (Some(channel), Some(produced)) = (self.channels.all.get(name), self.produced(node))
        else {
            return;
        };
        let (have, want) = (Shape::new(&produced), Shape::new(&channel.schema));
        let misfit = match channel.reducer {
            Reducer::Append | Reducer::Messages | Reducer::Union => {
                // One element or a list of them.
                let elements = want.element_schema().unwrap_or(Value::Bool(true));
                have.misfit(want).filter(|_| have.misfit(Shape::new(&elements)).is_some())
            }
            // A part of the object will do.
            Reducer::Merge => {
                let kinds = have.kinds();
                (!kinds.meets(Kinds::OBJECT)).then(|| format!("{kinds} where object is expected"))
            }
            Reducer::Replace | Reducer::Sum | Reducer::Min | Reducer::Max => have.misfit(want),
        };
        if let Some(misfit) = misfit {
            let message = format!("the answer of `{}` does not fit `{name}`: {misfit}", node.name);
            findings.add("PA043", at, message, format!("change the type of `{name}`"));
        }
    }
}

/// Turns faults of an expression into findings at the words they are about.
pub(super) fn report(
    faults: Vec<Fault>,
    file_text: &str,
    scalar: &str,
    at: At,
    prefix: &str,
    findings: &mut Findings,
) {
    for fault in faults {
        let at = if scalar.is_empty() { at } else { at.inside(file_text, scalar, &fault.word) };
        findings.add(fault.code, at, format!("{prefix}{}", fault.message), fault.hint);
    }
}
