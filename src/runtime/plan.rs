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
            // Planned, so that a retry finds them, but not started.
            set_tasks(draft, program, &planned);
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
    set_tasks(draft, program, planned);
    let starts = planned.iter().filter(|planned| planned.look_at.is_none());
    let progress = &mut draft.state.progress;
    progress.supersteps += u64::from(starts.clone().next().is_some());
    for start in starts {
        count(&mut progress.visits, &program.graph.nodes[start.node].name);
    }
    draft.state.status = draft.state.status_of_tasks(draft.state.at);
    for planned in planned {
        let mut data = Map::new();
        data.insert("node".to_owned(), program.graph.nodes[planned.node].name.clone().into());
        data.insert("superstep".to_owned(), draft.state.superstep.into());
        if let Some(at) = planned.look_at {
            data.insert("at".to_owned(), at.0.into());
        }
        draft.event(kind::STEP_STARTED, Value::Object(data));
    }
}

fn set_tasks(draft: &mut Draft, program: &Program, planned: &[Planned]) {
    draft.state.superstep += 1;
    draft.state.tasks.clear();
    draft.state.tasks.extend(planned.iter().map(|planned| Task {
        node: program.graph.nodes[planned.node].name.clone(),
        state: planned.look_at.map_or(TaskState::Ready, TaskState::At),
        look: planned.look_at.is_some(),
        asked: 0,
    }));
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
