//! A graph made ready to run: validators, conditions and workers compiled once per content hash.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jsonschema::Validator;
use serde_json::Value;

use super::{Error, Node, NodeFactory};
use crate::graph::{self, Expression, Graph, NodeIx, Reducer, Route};

/// Keywords that may constrain a list as a whole, so that the list with its new elements must be checked again.
const LIST_KEYWORDS: [&str; 9] = [
    "maxItems",
    "minItems",
    "uniqueItems",
    "prefixItems",
    "contains",
    "allOf",
    "anyOf",
    "oneOf",
    "$ref",
];

/// A graph with all that running it takes.
pub(super) struct Program {
    pub(super) graph: Arc<Graph>,
    channels: HashMap<String, ChannelRules>,
    context: BTreeMap<String, Validator>,
    steps: Vec<Step>,
    by_name: HashMap<String, NodeIx>,
}

/// How values of a channel are checked.
struct ChannelRules {
    schema: Validator,
    /// The written value itself must fit: not so for a partial object.
    check_write: bool,
    /// The folded value must be checked as well.
    check_result: bool,
}

/// A node made ready.
pub(super) struct Step {
    pub(super) worker: Arc<dyn Node>,
    /// Conditions of `Route::First`, in order; `None` always holds.
    pub(super) routes: Vec<Option<Condition>>,
    /// Conditions of `on_error`, in order.
    pub(super) on_error: Vec<Option<Condition>>,
    /// Condition of `repeat`.
    pub(super) until: Option<Condition>,
    /// Channels it may write.
    writes: Vec<String>,
}

/// A condition, and the channels it could mention.
pub(super) struct Condition {
    pub(super) expression: Expression,
    pub(super) channels: Vec<String>,
    source: String,
}

impl Condition {
    /// Whether `name` occurs in its text: a name that does not cannot be read by it, and need not be copied.
    pub(super) fn mentions(&self, name: &str) -> bool {
        self.source.contains(name)
    }
}

impl Program {
    /// Compiles `graph`. Errors: [`Error::GraphUnusable`].
    pub(super) fn new(graph: Arc<Graph>, factory: &dyn NodeFactory) -> Result<Self, Error> {
        let unusable = |reason: String| Error::GraphUnusable { graph: graph.name.clone(), reason };
        let mut channels = HashMap::new();
        for (name, channel) in &graph.channels {
            let schema = compile(&channel.schema).map_err(|error| unusable(error.clone()))?;
            let (check_write, check_result) = checks(channel);
            channels.insert(name.clone(), ChannelRules { schema, check_write, check_result });
        }
        let mut context = BTreeMap::new();
        for (name, schema) in &graph.context {
            context.insert(name.clone(), compile(schema).map_err(&unusable)?);
        }
        let mut steps = Vec::with_capacity(graph.nodes.len());
        for node in &graph.nodes {
            steps.push(step(&graph, node, factory).map_err(&unusable)?);
        }
        let by_name =
            graph.nodes.iter().enumerate().map(|(ix, node)| (node.name.clone(), ix)).collect();
        Ok(Self { channels, context, steps, by_name, graph })
    }

    /// Definition and worker of the node of that name.
    pub(super) fn step(&self, name: &str) -> Option<(NodeIx, &graph::Node, &Step)> {
        let ix = *self.by_name.get(name)?;
        Some((ix, &self.graph.nodes[ix], &self.steps[ix]))
    }

    /// Checks what a node wants to write. Errors: unknown, undeclared or misfit channels.
    pub(super) fn check_writes(&self, node: &str, writes: &[(String, Value)]) -> Result<(), Error> {
        let Some((_, _, step)) = self.step(node) else { return Ok(()) };
        for (channel, value) in writes {
            let Some(rules) = self.channels.get(channel) else {
                return Err(Error::WriteUnknown {
                    node: node.to_owned(),
                    channel: channel.clone(),
                    nearest: nearest(channel, self.channels.keys()),
                });
            };
            if !step.writes.contains(channel) {
                return Err(Error::WriteUndeclared {
                    node: node.to_owned(),
                    channel: channel.clone(),
                });
            }
            if rules.check_write && !rules.schema.is_valid(value) {
                return Err(Error::WriteInvalid {
                    node: node.to_owned(),
                    channel: channel.clone(),
                    reason: reason(&rules.schema, value),
                });
            }
        }
        Ok(())
    }

    /// Checks a folded value where the writes alone do not prove it.
    pub(super) fn check_folded(&self, channel: &str, value: &Value) -> Result<(), Error> {
        match self.channels.get(channel) {
            Some(rules) if rules.check_result && !rules.schema.is_valid(value) => {
                Err(Error::Fold {
                    channel: channel.to_owned(),
                    reason: reason(&rules.schema, value),
                })
            }
            _ => Ok(()),
        }
    }

    /// Checks a value that another graph left in a channel.
    pub(super) fn check_inherited(&self, channel: &str, value: &Value) -> Result<(), Error> {
        match self.channels.get(channel) {
            Some(rules) if !rules.schema.is_valid(value) => Err(Error::StateIncompatible {
                channel: channel.to_owned(),
                graph: self.graph.name.clone(),
                reason: reason(&rules.schema, value),
            }),
            _ => Ok(()),
        }
    }

    /// The input of a run, by channel. Errors: [`Error::InputInvalid`].
    pub(super) fn check_input(&self, input: Value) -> Result<BTreeMap<String, Value>, Error> {
        let invalid =
            |reason: String| Error::InputInvalid { graph: self.graph.name.clone(), reason };
        let values = object(input).map_err(&invalid)?;
        for (name, value) in &values {
            if !self.graph.input.contains_key(name) {
                let hint = nearest(name, self.graph.input.keys())
                    .map_or(String::new(), |near| format!(", did you mean `{near}`?"));
                return Err(invalid(format!("`{name}` is not an input{hint}")));
            }
            let Some(rules) = self.channels.get(name) else { continue };
            if !rules.schema.is_valid(value) {
                return Err(invalid(format!("`{name}`: {}", reason(&rules.schema, value))));
            }
        }
        let missing = |(name, required): (&String, &bool)| {
            (*required && !values.contains_key(name)).then(|| format!("`{name}`"))
        };
        let missing: Vec<String> = self.graph.input.iter().filter_map(missing).collect();
        if missing.is_empty() {
            Ok(values)
        } else {
            Err(invalid(format!("{} must be given", missing.join(", "))))
        }
    }

    /// The context of a run. Errors: [`Error::ContextInvalid`].
    pub(super) fn check_context(&self, context: Value) -> Result<BTreeMap<String, Value>, Error> {
        let invalid =
            |reason: String| Error::ContextInvalid { graph: self.graph.name.clone(), reason };
        let values = object(context).map_err(&invalid)?;
        if let Some(name) = values.keys().find(|name| !self.context.contains_key(*name)) {
            let hint = nearest(name, self.context.keys())
                .map_or(String::new(), |near| format!(", did you mean `{near}`?"));
            return Err(invalid(format!("`{name}` is not part of it{hint}")));
        }
        for (name, schema) in &self.context {
            match values.get(name) {
                Some(value) if !schema.is_valid(value) => {
                    return Err(invalid(format!("`{name}`: {}", reason(schema, value))));
                }
                // A schema that accepts null makes the value optional.
                None if !schema.is_valid(&Value::Null) => {
                    return Err(invalid(format!("`{name}` must be given")));
                }
                _ => {}
            }
        }
        Ok(values)
    }
}

/// A validator of `schema`. Errors: why it is no schema.
pub(super) fn compile(schema: &Value) -> Result<Validator, String> {
    jsonschema::validator_for(schema).map_err(|error| format!("a schema is broken: {error}"))
}

/// All the ways in which `value` does not fit, one sentence.
pub(super) fn reason(schema: &Validator, value: &Value) -> String {
    let found: Vec<String> = schema
        .iter_errors(value)
        .take(3)
        .map(|error| match error.instance_path().as_str() {
            "" => error.to_string(),
            path => format!("at {path}: {error}"),
        })
        .collect();
    found.join("; ")
}

fn checks(channel: &graph::Channel) -> (bool, bool) {
    let whole = channel
        .schema
        .as_object()
        .is_none_or(|schema| LIST_KEYWORDS.iter().any(|keyword| schema.contains_key(*keyword)));
    match channel.reducer {
        Reducer::Replace => (true, false),
        Reducer::Merge => (false, true),
        Reducer::Sum => (true, true),
        Reducer::Min | Reducer::Max => (true, false),
        Reducer::Append | Reducer::Union | Reducer::Messages => {
            // Two elements at least, or one of a kind: that is asked of the whole, not of one write.
            let of_whole = ["minItems", "contains", "prefixItems"];
            (of_whole.iter().all(|keyword| channel.schema.get(*keyword).is_none()), whole)
        }
    }
}

fn step(graph: &Graph, node: &graph::Node, factory: &dyn NodeFactory) -> Result<Step, String> {
    let routes = match &node.route {
        Route::Always(_) => Vec::new(),
        Route::First(arms) => arms
            .iter()
            .map(|(when, _)| when.as_deref().map(|when| condition(graph, when)).transpose())
            .collect::<Result<_, _>>()?,
    };
    let on_error = node
        .on_error
        .iter()
        .map(|route| route.when.as_deref().map(|when| condition(graph, when)).transpose())
        .collect::<Result<_, _>>()?;
    let until = node.repeat.as_ref().map(|repeat| condition(graph, &repeat.until)).transpose()?;
    let mut writes: Vec<String> = node.writes.iter().cloned().collect();
    if let graph::Kind::Set(channels) = &node.kind {
        writes.extend(channels.keys().cloned());
    }
    Ok(Step { worker: factory.node(node), routes, on_error, until, writes })
}

fn condition(graph: &Graph, source: &str) -> Result<Condition, String> {
    let expression = Expression::compile(source)?;
    let channels =
        graph.channels.keys().filter(|name| source.contains(name.as_str())).cloned().collect();
    Ok(Condition { expression, channels, source: source.to_owned() })
}

fn object(value: Value) -> Result<BTreeMap<String, Value>, String> {
    match value {
        Value::Null => Ok(BTreeMap::new()),
        Value::Object(map) => Ok(map.into_iter().collect()),
        _ => Err("it must be an object".to_owned()),
    }
}

/// The name that is closest to `name`, if any is close at all.
fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a String>) -> Option<String> {
    known
        .map(|candidate| (distance(name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 2.max(candidate.len() / 3))
        .min()
        .map(|(_, candidate)| candidate.clone())
}

/// Levenshtein distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}
