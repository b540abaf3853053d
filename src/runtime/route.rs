//! Where a finished node goes: conditions over the folded state.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::flat::Frame;
use super::program::{Condition, Program, Step};
use super::{Checkpoint, Error, NodeError, RunError, fill, limits};
use crate::base::Millis;
use crate::graph::{self, EdgeTarget, NodeIx, Route};

/// Targets of a node that finished. Errors: [`Error::Route`] when a condition cannot be evaluated.
pub(super) fn targets(
    program: &Program,
    node: &graph::Node,
    step: &Step,
    state: &Checkpoint,
) -> Result<Vec<NodeIx>, Error> {
    match &node.route {
        Route::Always(targets) => Ok(targets.iter().filter_map(target).collect()),
        Route::First(arms) => {
            for ((_, edge), when) in arms.iter().zip(&step.routes) {
                let holds = when
                    .as_ref()
                    .map_or(Ok(true), |when| eval(program, when, state, state.error.as_deref()));
                if holds.map_err(|reason| cannot_leave(node, reason))? {
                    return Ok(target(edge).into_iter().collect());
                }
            }
            Err(cannot_leave(node, "none of its conditions holds".to_owned()))
        }
    }
}

/// Whether the `until` of a repeated node holds.
pub(super) fn is_settled(
    program: &Program,
    node: &graph::Node,
    until: &Condition,
    state: &Checkpoint,
) -> Result<bool, Error> {
    eval(program, until, state, state.error.as_deref()).map_err(|reason| cannot_leave(node, reason))
}

/// An `on_error` route that takes a failure over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Taken {
    /// The node it belongs to: the one that failed, or a subgraph around it.
    pub(super) owner: NodeIx,
    /// Its place among that node's.
    pub(super) index: usize,
}

/// The `on_error` route that takes `error` of `node` over: its own first, then those of the subgraphs around it. `None`: the
/// run fails.
pub(super) fn takes_over(
    program: &Program,
    node: NodeIx,
    state: &Checkpoint,
    error: &RunError,
) -> Result<Option<Taken>, Error> {
    let mut owner = node;
    loop {
        let definition = &program.graph.nodes[owner];
        for (index, when) in program.step_at(owner).on_error.iter().enumerate() {
            let holds =
                when.as_ref().map_or(Ok(true), |when| eval(program, when, state, Some(error)));
            if holds.map_err(|reason| cannot_leave(definition, reason))? {
                return Ok(Some(Taken { owner, index }));
            }
        }
        match program.frames[program.places[owner].frame].doors {
            Some((enter, _)) => owner = enter,
            None => return Ok(None),
        }
    }
}

/// What an `on_error` route writes. Errors: a template that does not render.
pub(super) fn error_writes(
    program: &Program,
    taken: Taken,
    state: &Checkpoint,
    error: &RunError,
) -> Result<Vec<(String, Value)>, NodeError> {
    let node = &program.graph.nodes[taken.owner];
    let values = &node.on_error[taken.index].set;
    if values.is_empty() {
        return Ok(Vec::new());
    }
    let frame = &program.frames[program.places[taken.owner].frame];
    let held = |path: &String| state.channels.get(path).and_then(|slot| slot.value.as_deref());
    let set =
        frame.channels.iter().filter_map(|(name, path)| Some((name.clone(), held(path)?.clone())));
    let mut scope: BTreeMap<String, Value> = set.collect();
    scope.insert("context".to_owned(), context(frame, state));
    scope.insert("visits".to_owned(), visits(frame, state));
    scope.insert("limits".to_owned(), limits::scope(frame, state, state.at));
    scope.insert("error".to_owned(), seen(error));
    let filled = values.iter().map(|(channel, template)| {
        let value = graph::render_args(template, &scope);
        Ok((channel.clone(), value.map_err(|why| fill::unfilled(&node.name, channel, &why))?))
    });
    filled.collect()
}

/// A node's failure as the run keeps it.
pub(super) fn run_error(node: &str, error: &NodeError) -> RunError {
    RunError {
        node: Some(node.to_owned()),
        class: error.class.name().to_owned(),
        problem: error.problem.clone(),
    }
}

fn target(edge: &EdgeTarget) -> Option<NodeIx> {
    match edge {
        EdgeTarget::End => None,
        EdgeTarget::Node(ix) => Some(*ix),
    }
}

fn cannot_leave(node: &graph::Node, reason: String) -> Error {
    Error::Route { node: node.name.clone(), reason }
}

/// Names that mean something of their own in a condition.
const RESERVED: [&str; 4] = ["context", "visits", "limits", "error"];

fn eval(
    program: &Program,
    condition: &Condition,
    state: &Checkpoint,
    error: Option<&RunError>,
) -> Result<bool, String> {
    // Channels alone, and no copies of them: what most conditions ask for.
    let held = |name: &str| {
        let (_, path) = condition.channels.iter().find(|(own, _)| own == name)?;
        let value = state.channels.get(path).and_then(|slot| slot.value.as_deref());
        (!RESERVED.contains(&name)).then(|| value.unwrap_or(&Value::Null))
    };
    match condition.expression.decide(held) {
        Some(truth) => Ok(truth),
        None => {
            condition.expression.eval_in_full(&scope(program, condition, state, error, state.at))
        }
    }
}

/// What a condition sees: the channels it mentions (unset: null), `context`, `visits`, `limits`, `error`.
fn scope(
    program: &Program,
    condition: &Condition,
    state: &Checkpoint,
    error: Option<&RunError>,
    now: Millis,
) -> BTreeMap<String, Value> {
    let mut scope = BTreeMap::new();
    for (name, path) in &condition.channels {
        let value = state.channels.get(path).and_then(|slot| slot.value.as_deref());
        scope.insert(name.clone(), value.cloned().unwrap_or(Value::Null));
    }
    let frame = &program.frames[condition.frame];
    if condition.mentions("context") {
        scope.insert("context".to_owned(), context(frame, state));
    }
    if condition.mentions("visits") {
        scope.insert("visits".to_owned(), visits(frame, state));
    }
    if condition.mentions("limits") {
        scope.insert("limits".to_owned(), limits::scope(frame, state, now));
    }
    if condition.mentions("error") {
        scope.insert("error".to_owned(), error.map_or(Value::Null, seen));
    }
    scope
}

fn context(frame: &Frame, state: &Checkpoint) -> Value {
    let value = |name: &String| state.run.context.get(name).cloned().unwrap_or(Value::Null);
    let context: Map<String, Value> =
        frame.context.iter().map(|name| (name.clone(), value(name))).collect();
    Value::Object(context)
}

fn visits(frame: &Frame, state: &Checkpoint) -> Value {
    let count = |path: &String| state.progress.visits.get(path).copied().unwrap_or(0);
    let visits: Map<String, Value> =
        frame.nodes.iter().map(|(name, path)| (name.clone(), Value::from(count(path)))).collect();
    Value::Object(visits)
}

fn seen(error: &RunError) -> Value {
    json!({
        "node": error.node,
        "class": error.class,
        "code": error.problem.code,
        "message": error.problem.message,
    })
}
