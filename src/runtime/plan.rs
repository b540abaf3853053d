//! Opens the next superstep: which nodes run, within the run's limits.

use serde_json::{Map, Value, json};

use super::draft::Draft;
use super::program::Program;
use super::{Error, RunError, Status, Task, TaskState, kind, limits};
use crate::base::{Coded, Millis};
use crate::graph::NodeIx;

/// A node to run: at once, or as a look of a `repeat` at a later moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Planned {
    pub(super) node: NodeIx,
    pub(super) look_at: Option<Millis>,
}

/// Opens a superstep with `planned`; without any, the run is finished. A reached limit goes to `on_limit` or fails the run.
pub(super) fn open(draft: &mut Draft, program: &Program, mut planned: Vec<Planned>) {
    planned.sort_unstable();
    // A node that several routes lead to runs once; a fresh start makes a look at it unnecessary.
    planned.dedup_by_key(|planned| planned.node);
    if planned.is_empty() {
        finish(draft, program);
        return;
    }
    let graph = &program.graph;
    let starts = planned.iter().filter(|planned| planned.look_at.is_none());
    let names = starts.map(|planned| graph.nodes[planned.node].name.as_str());
    if let Some(limit) = limits::reached(graph, &draft.state, names, draft.state.at) {
        let first = draft.state.progress.limit_reached.is_none();
        let to = graph.limits.on_limit.filter(|_| first);
        let name = to.map(|ix| graph.nodes[ix].name.clone());
        draft.event(kind::LIMIT_REACHED, json!({ "limit": limit, "to": name }));
        draft.state.progress.limit_reached = Some((limit.clone(), draft.state.superstep));
        let Some(node) = to else {
            enter(draft, program, &planned);
            draft.fail(fatal(None, &Error::LimitReached { limit }));
            return;
        };
        planned = vec![Planned { node, look_at: None }];
    }
    enter(draft, program, &planned);
}

/// A failure that no node's own error describes.
pub(super) fn fatal(node: Option<String>, error: &Error) -> RunError {
    RunError { node, class: "fatal".to_owned(), problem: error.problem() }
}

fn enter(draft: &mut Draft, program: &Program, planned: &[Planned]) {
    let state = &mut draft.state;
    state.superstep += 1;
    state.status = Status::Running;
    state.progress.supersteps +=
        u64::from(planned.iter().any(|planned| planned.look_at.is_none()));
    state.tasks.clear();
    for planned in planned {
        let name = &program.graph.nodes[planned.node].name;
        let task_state = match planned.look_at {
            Some(at) => TaskState::At(at),
            None => {
                count(&mut state.progress.visits, name);
                TaskState::Ready
            }
        };
        state.tasks.push(Task {
            node: name.clone(),
            state: task_state,
            look: planned.look_at.is_some(),
            asked: 0,
        });
    }
    let (superstep, now) = (state.superstep, state.at);
    state.status = state.status_of_tasks(now);
    for planned in planned {
        let mut data = Map::new();
        data.insert("node".to_owned(), program.graph.nodes[planned.node].name.clone().into());
        data.insert("superstep".to_owned(), superstep.into());
        if let Some(at) = planned.look_at {
            data.insert("at".to_owned(), at.0.into());
        }
        draft.event(kind::STEP_STARTED, Value::Object(data));
    }
}

fn count(visits: &mut std::collections::BTreeMap<String, u64>, node: &str) {
    match visits.get_mut(node) {
        Some(count) => *count += 1,
        None => {
            visits.insert(node.to_owned(), 1);
        }
    }
}

fn finish(draft: &mut Draft, program: &Program) {
    draft.state.status = Status::Done;
    draft.state.tasks.clear();
    let output: Map<String, Value> = program
        .graph
        .output
        .iter()
        .map(|name| {
            let value = draft.value(name).map_or(Value::Null, |value| (*value).clone());
            (name.clone(), value)
        })
        .collect();
    draft.event(kind::RUN_FINISHED, json!({ "output": output }));
}
