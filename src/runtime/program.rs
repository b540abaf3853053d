//! A graph made ready to run: validators, conditions and workers compiled once per content hash.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use jsonschema::Validator;
use serde_json::Value;

use super::fill::Fill;
use super::flat::{Flat, Frame, Place, Role};
use super::{Error, Node, NodeFactory};
use crate::graph::{self, EdgeTarget, Expression, Graph, Mode, NodeIx, Reducer, Route};

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

/// A graph with all that running it takes, its subgraphs laid out flat.
pub(super) struct Program {
    pub(super) graph: Arc<Graph>,
    pub(super) frames: Vec<Frame>,
    /// By node.
    pub(super) places: Vec<Place>,
    /// No subgraph, no join, nothing deferred: what is planned runs.
    pub(super) is_simple: bool,
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
    /// What the names of the channels that it writes begin with.
    pub(super) writes_in: String,
}

/// A condition, and the channels it could mention.
pub(super) struct Condition {
    pub(super) expression: Expression,
    /// As the condition names them, and by path.
    pub(super) channels: Vec<(String, String)>,
    /// The graph it belongs to.
    pub(super) frame: usize,
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
        let Flat { graph, frames, places } = Flat::of(graph);
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
        for (node, place) in graph.nodes.iter().zip(&places) {
            steps.push(step(&frames, node, place, factory).map_err(&unusable)?);
        }
        let waits = |node: &graph::Node| node.join.is_some() || node.defer;
        let is_simple =
            frames.len() == 1 && graph.mode == Mode::Superstep && !graph.nodes.iter().any(waits);
        let by_name =
            graph.nodes.iter().enumerate().map(|(ix, node)| (node.name.clone(), ix)).collect();
        Ok(Self { channels, context, steps, by_name, graph, frames, places, is_simple })
    }

    /// Whether what follows a node starts at once.
    pub(super) fn is_eager(&self) -> bool {
        self.graph.mode == Mode::Eager
    }

    /// Definition and worker of the node of that name.
    pub(super) fn step(&self, name: &str) -> Option<(NodeIx, &graph::Node, &Step)> {
        let ix = *self.by_name.get(name)?;
        Some((ix, &self.graph.nodes[ix], &self.steps[ix]))
    }

    /// The name by which others know a node: a subgraph leads on by its last door, and is known by its first.
    pub(super) fn known_as(&self, node: NodeIx) -> &str {
        let door = match self.places[node].role {
            Role::Leave(frame) => self.frames[frame].doors.map_or(node, |(enter, _)| enter),
            Role::Work | Role::Enter(_) => node,
        };
        &self.graph.nodes[door].name
    }

    /// The worker of a node by its number.
    pub(super) fn step_at(&self, node: NodeIx) -> &Step {
        &self.steps[node]
    }

    /// Whether a node belongs to a frame, or to one inside it.
    pub(super) fn is_inside(&self, node: NodeIx, frame: usize) -> bool {
        self.graph.nodes[node].name.starts_with(&self.frames[frame].prefix)
    }

    /// The error of a name that is no node's.
    pub(super) fn unknown_node(&self, node: &str) -> Error {
        let nearest = nearest(node, self.by_name.keys());
        Error::UnknownNode { node: node.to_owned(), graph: self.graph.name.clone(), nearest }
    }

    /// Checks that a node waits for this signal, as the graph says.
    ///
    /// Errors: [`Error::UnknownSignal`].
    pub(super) fn check_signal(&self, name: &str) -> Result<(), Error> {
        let waits = |node: &graph::Node| match &node.kind {
            graph::Kind::Wait(graph::WaitSpec::Signal { name, .. }) => Some(name.clone()),
            _ => None,
        };
        let known: BTreeSet<String> = self.graph.nodes.iter().filter_map(waits).collect();
        if known.contains(name) {
            return Ok(());
        }
        let (name, graph) = (name.to_owned(), self.graph.name.clone());
        Err(Error::UnknownSignal { nearest: nearest(&name, known.iter()), name, graph })
    }

    /// Checks that a node may lead to each of `targets`. Errors: [`Error::GotoUndeclared`].
    pub(super) fn check_goto(&self, node: &str, targets: &[String]) -> Result<(), Error> {
        let Some((_, definition, _)) = self.step(node) else { return Err(self.unknown_node(node)) };
        let to: Vec<&EdgeTarget> = match &definition.route {
            Route::Always(targets) => targets.iter().collect(),
            Route::First(arms) => arms.iter().map(|(_, target)| target).collect(),
        };
        let declared: Vec<&str> = to
            .into_iter()
            .filter_map(|target| match target {
                EdgeTarget::Node(ix) => Some(self.graph.nodes[*ix].name.as_str()),
                EdgeTarget::End => None,
            })
            .collect();
        match targets.iter().find(|target| !declared.contains(&target.as_str())) {
            None => Ok(()),
            Some(target) => Err(Error::GotoUndeclared {
                node: node.to_owned(),
                target: target.clone(),
                declared: declared.join(", "),
            }),
        }
    }

    /// Checks values that come from outside. Errors: unknown or misfit channels.
    pub(super) fn check_values(&self, who: &str, writes: &[(String, Value)]) -> Result<(), Error> {
        self.check_each(who, writes, |_| true)
    }

    /// Checks what a node wants to write. Errors: unknown, undeclared or misfit channels.
    pub(super) fn check_writes(&self, node: &str, writes: &[(String, Value)]) -> Result<(), Error> {
        let Some((_, _, step)) = self.step(node) else { return Ok(()) };
        self.check_each(node, writes, |channel| step.writes.contains(channel))
    }

    /// Whether the node that waits for a signal can write what it brings.
    pub(super) fn check_payload(
        &self,
        node: &str,
        signal: &str,
        payload: &Value,
    ) -> Result<(), Error> {
        let Some((_, definition, _)) = self.step(node) else { return Ok(()) };
        // A node of another kind may make of it what it likes.
        let wait = matches!(definition.kind, graph::Kind::Wait(_));
        let Some(channel) = definition.writes.clone().filter(|_| wait) else { return Ok(()) };
        let written = self.check_writes(node, &[(channel, payload.clone())]);
        written.map_err(|error| Error::SignalInvalid {
            signal: signal.to_owned(),
            node: node.to_owned(),
            reason: match error {
                Error::WriteInvalid { reason, .. } => reason,
                other => other.to_string(),
            },
        })
    }

    fn check_each(
        &self,
        node: &str,
        writes: &[(String, Value)],
        declared: impl Fn(&String) -> bool,
    ) -> Result<(), Error> {
        for (channel, value) in writes {
            let Some(rules) = self.channels.get(channel) else {
                return Err(Error::WriteUnknown {
                    node: node.to_owned(),
                    channel: channel.clone(),
                    nearest: nearest(channel, self.channels.keys()),
                });
            };
            if !declared(channel) {
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

fn step(
    frames: &[Frame],
    node: &graph::Node,
    place: &Place,
    factory: &dyn NodeFactory,
) -> Result<Step, String> {
    let outside = match place.role {
        // Where a subgraph leads is for the graph around it to say.
        Role::Leave(frame) => frames[frame].parent,
        Role::Work | Role::Enter(_) => place.frame,
    };
    let compile = |when: &String| condition(&frames[outside], outside, when);
    let routes = match &node.route {
        Route::Always(_) => Vec::new(),
        Route::First(arms) => arms
            .iter()
            .map(|(when, _)| when.as_ref().map(compile).transpose())
            .collect::<Result<_, _>>()?,
    };
    let errors = node.on_error.iter().map(|route| route.when.as_ref().map(compile).transpose());
    let on_error = errors.collect::<Result<_, _>>()?;
    let until = node.repeat.as_ref().map(|repeat| compile(&repeat.until)).transpose()?;
    let named = |values: &BTreeMap<String, Value>, prefix: &str| -> Vec<String> {
        values.keys().map(|name| format!("{prefix}{name}")).collect()
    };
    let mut writes: Vec<String> = node.writes.iter().cloned().collect();
    let mut writes_in = frames[place.frame].prefix.clone();
    let worker: Arc<dyn Node> = match (place.role, &node.kind) {
        (Role::Enter(frame), graph::Kind::Graph(sub)) => {
            writes_in.clone_from(&frames[frame].prefix);
            writes = named(&sub.input, &writes_in);
            Arc::new(Fill(sub.input.clone()))
        }
        (Role::Leave(_), graph::Kind::Set(values)) => {
            writes_in.clone_from(&frames[outside].prefix);
            writes = named(values, &writes_in);
            Arc::new(Fill(values.clone()))
        }
        (_, kind) => {
            if let graph::Kind::Set(values) = kind {
                writes.extend(named(values, &writes_in));
            }
            factory.node(place.local.as_ref().unwrap_or(node))
        }
    };
    Ok(Step { worker, routes, on_error, until, writes, writes_in })
}

fn condition(frame: &Frame, number: usize, source: &str) -> Result<Condition, String> {
    let expression = Expression::compile(source)?;
    let mentioned = frame.channels.iter().filter(|(name, _)| source.contains(name.as_str()));
    let channels = mentioned.cloned().collect();
    Ok(Condition { expression, channels, frame: number, source: source.to_owned() })
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
