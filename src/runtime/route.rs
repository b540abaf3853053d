//! Where a finished node goes: conditions over the folded state.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::limits;
use super::program::{Condition, Program, Step};
use super::{Checkpoint, Error, NodeError, RunError};
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
                    .map_or(Ok(true), |when| eval(program, when, state, state.error.as_ref()));
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
    eval(program, until, state, state.error.as_ref()).map_err(|reason| cannot_leave(node, reason))
}

/// The `on_error` route that takes `error` over: its index. `None`: no route does, the run fails.
pub(super) fn takes_over(
    program: &Program,
    node: &graph::Node,
    step: &Step,
    state: &Checkpoint,
    error: &NodeError,
) -> Result<Option<usize>, Error> {
    let seen = run_error(&node.name, error);
    for (index, when) in step.on_error.iter().enumerate() {
        let holds = when.as_ref().map_or(Ok(true), |when| eval(program, when, state, Some(&seen)));
        if holds.map_err(|reason| cannot_leave(node, reason))? {
            return Ok(Some(index));
        }
    }
    Ok(None)
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

fn eval(
    program: &Program,
    condition: &Condition,
    state: &Checkpoint,
    error: Option<&RunError>,
) -> Result<bool, String> {
    condition.expression.eval_bool(&scope(program, condition, state, error, state.at))
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
    for name in &condition.channels {
        let value = state.channels.get(name).and_then(|slot| slot.value.as_deref());
        scope.insert(name.clone(), value.cloned().unwrap_or(Value::Null));
    }
    let graph = &program.graph;
    if condition.mentions("context") {
        let value = |name: &String| state.run.context.get(name).cloned().unwrap_or(Value::Null);
        let context: Map<String, Value> =
            graph.context.keys().map(|name| (name.clone(), value(name))).collect();
        scope.insert("context".to_owned(), Value::Object(context));
    }
    if condition.mentions("visits") {
        let count = |name: &str| state.progress.visits.get(name).copied().unwrap_or(0);
        let visits: Map<String, Value> = graph
            .nodes
            .iter()
            .map(|node| (node.name.clone(), Value::from(count(&node.name))))
            .collect();
        scope.insert("visits".to_owned(), Value::Object(visits));
    }
    if condition.mentions("limits") {
        scope.insert("limits".to_owned(), limits::scope(graph, state, now));
    }
    if condition.mentions("error") {
        scope.insert("error".to_owned(), error.map_or(Value::Null, seen));
    }
    scope
}

fn seen(error: &RunError) -> Value {
    json!({
        "node": error.node,
        "class": error.class,
        "code": error.problem.code,
        "message": error.problem.message,
    })
}
