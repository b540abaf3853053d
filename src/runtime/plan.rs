//! Opens the next superstep: which nodes run, within the run's limits.

use serde_json::{Map, Value, json};

use super::draft::Draft;
use super::flat::{ROOT, Role};
use super::program::Program;
use super::schedule::{self, Stuck};
use super::{
    Data, Error, Named, Pauses, RunError, Status, Task, TaskResult, TaskState, fold, kind, limits,
    route,
};
use crate::base::{Coded, Millis};
use crate::graph::{NodeIx, Pause};

/// A node to run: at once, or as a look of a `repeat` at a later moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Planned {
    pub(super) node: NodeIx,
    pub(super) look_at: Option<Millis>,
    /// It waits until somebody lets the run go on.
    pub(super) held: bool,
}

impl Planned {
    /// A start at once.
    pub(super) fn start(node: NodeIx) -> Self {
        Self { node, look_at: None, held: false }
    }
}

/// Opens a superstep with `planned` and whoever need not wait for others any more, beside the tasks that are there and still at
/// work; without any, the run is finished. A reached limit goes to `on_limit` or fails the graph it belongs to.
pub(super) fn open(draft: &mut Draft, program: &Program, planned: Vec<Planned>) {
    open_over(draft, program, planned, Vec::new());
}

/// The same where limits were reached already: the graphs, by number, and which limit.
pub(super) fn open_over(
    draft: &mut Draft,
    program: &Program,
    planned: Vec<Planned>,
    mut over: Vec<(usize, String)>,
) {
    // A graph is laid out before those inside it, which its limit ends.
    over.sort();
    over.dedup_by_key(|(frame, _)| *frame);
    let opened = over
        .into_iter()
        .try_fold(planned, |planned, (frame, limit)| match goes_on(draft, program, frame) {
            true => at_limit(draft, program, planned, frame, limit),
            false => Ok(planned),
        })
        .and_then(|planned| try_open(draft, program, planned));
    if let Err(error) = opened {
        draft.fail(error);
    }
}

/// Whether that graph is the outermost, or a call of it is not over.
fn goes_on(draft: &Draft, program: &Program, frame: usize) -> bool {
    let path = &program.frames[frame].path;
    frame == ROOT || draft.state.progress.calls.contains_key(path)
}

fn try_open(
    draft: &mut Draft,
    program: &Program,
    mut planned: Vec<Planned>,
) -> Result<(), RunError> {
    loop {
        planned = match schedule::ready(draft, program, planned) {
            Ok(ready) => ready,
            Err(stuck) => {
                planned = abandon(draft, program, stuck)?;
                continue;
            }
        };
        planned.sort_unstable();
        // A node that several routes lead to runs once; a fresh start makes a look at it unnecessary.
        planned.dedup_by_key(|planned| planned.node);
        if planned.is_empty() && draft.state.tasks.is_empty() {
            finish(draft, program);
            return Ok(());
        }
        if planned.is_empty() {
            break;
        }
        match over_limit(draft, program, &planned) {
            None => break,
            Some((frame, limit)) => {
                planned = at_limit(draft, program, planned, frame, limit)?;
            }
        }
    }
    enter(draft, program, &planned);
    Ok(())
}

/// The innermost graph that has reached a limit.
fn over_limit(draft: &Draft, program: &Program, planned: &[Planned]) -> Option<(usize, String)> {
    let frames = program.frames.iter().enumerate().rev();
    frames.filter(|(number, _)| goes_on(draft, program, *number)).find_map(|(number, frame)| {
        let names = starts(program, planned, number);
        let limit = limits::reached(frame, &draft.state, names, draft.state.at)?;
        Some((number, limit))
    })
}

/// Nodes of one graph that are about to start, by name.
fn starts<'a>(
    program: &'a Program,
    planned: &'a [Planned],
    frame: usize,
) -> impl Iterator<Item = &'a str> {
    let counts = move |planned: &&Planned| {
        let place = &program.places[planned.node];
        // Handing back what is done must always be possible.
        place.frame == frame && planned.look_at.is_none() && !matches!(place.role, Role::Leave(_))
    };
    planned.iter().filter(counts).map(|planned| program.graph.nodes[planned.node].name.as_str())
}

/// What runs instead of `planned` where a graph has reached a limit.
fn at_limit(
    draft: &mut Draft,
    program: &Program,
    mut planned: Vec<Planned>,
    number: usize,
    limit: String,
) -> Result<Vec<Planned>, RunError> {
    let frame = &program.frames[number];
    let superstep = draft.state.superstep;
    let progress = &mut draft.state.progress;
    let reached = match progress.calls.get_mut(&frame.path) {
        Some(call) => &mut call.limit_reached,
        None => &mut progress.limit_reached,
    };
    let first = reached.replace((limit.clone(), superstep)).is_none();
    let to = frame.limits.on_limit.filter(|_| first);
    let name = to.map(|ix| program.graph.nodes[ix].name.clone());
    draft.event(kind::LIMIT_REACHED, json!({ "limit": limit, "to": name }));
    let Some(node) = to else {
        let error = Error::LimitReached { limit };
        return abandon(draft, program, Stuck { frame: number, error, ready: planned });
    };
    schedule::clear(draft, &frame.prefix);
    schedule::cut(draft, &frame.prefix);
    planned.retain(|planned| !program.is_inside(planned.node, number));
    planned.push(Planned::start(node));
    Ok(planned)
}

/// What runs on when a graph cannot: where an `on_error` of its node, or of one around it, says. Errors: none does.
fn abandon(draft: &mut Draft, program: &Program, stuck: Stuck) -> Result<Vec<Planned>, RunError> {
    let Stuck { frame, error, mut ready } = stuck;
    let path = Some(&program.frames[frame].path).filter(|path| !path.is_empty());
    let error = fatal(path.cloned(), &error);
    let taken = match program.frames[frame].doors {
        Some((enter, _)) => route::takes_over(program, enter, &draft.state, &error)
            .map_err(|error| fatal(None, &error))?,
        None => None,
    };
    let Some(taken) = taken else {
        // Planned, so that a retry finds them, but not started.
        set_tasks(draft, program, &ready);
        return Err(error);
    };
    let writes = route::error_writes(program, taken, &draft.state, &error)
        .map_err(|failed| route::run_error(&program.graph.nodes[taken.owner].name, &failed))?;
    if let Role::Enter(frame) = program.places[taken.owner].role {
        schedule::leave(draft, program, frame);
        schedule::cut(draft, &program.frames[frame].prefix);
        ready.retain(|planned| !program.is_inside(planned.node, frame));
    }
    draft.state.error = Some(Box::new(error));
    let mut results = [TaskResult::of(&program.graph.nodes[taken.owner].name, writes)];
    fold::fold(draft, program, &mut results).map_err(|error| fatal(None, &error))?;
    let to = program.graph.nodes[taken.owner].on_error[taken.index].to;
    if let Some(to) = to.filter(|to| schedule::arrives(draft, program, taken.owner, *to)) {
        ready.push(Planned::start(to));
    }
    Ok(ready)
}

/// A failure that no node's own error describes.
pub(super) fn fatal(node: Option<String>, error: &Error) -> RunError {
    RunError { node, class: "fatal".to_owned(), problem: error.problem() }
}

fn enter(draft: &mut Draft, program: &Program, planned: &[Planned]) {
    set_tasks(draft, program, planned);
    let progress = &mut draft.state.progress;
    for (number, frame) in program.frames.iter().enumerate() {
        let mut starting = starts(program, planned, number).peekable();
        if starting.peek().is_none() {
            continue;
        }
        match progress.calls.get_mut(&frame.path) {
            Some(call) => call.supersteps += 1,
            None => progress.supersteps += 1,
        }
        starting.for_each(|name| count(&mut progress.visits, name));
    }
    draft.state.status = draft.state.status_of_tasks(draft.state.at);
    for planned in planned {
        let node = program.graph.nodes[planned.node].name.clone();
        draft.state.progress.counted.remove(&node);
        let (superstep, at) = (draft.state.superstep, planned.look_at);
        draft.event(kind::STEP_STARTED, Data::Started { node, superstep, at });
    }
}

/// Opens a superstep for `planned`, and for the tasks that are still at work.
fn set_tasks(draft: &mut Draft, program: &Program, planned: &[Planned]) {
    for task in draft.state.tasks.iter_mut().filter(|task| task.since == 0) {
        task.since = draft.state.superstep;
    }
    let carried = !draft.state.tasks.is_empty();
    draft.state.superstep += 1;
    let pauses = &draft.state.run.pauses;
    draft.state.tasks.extend(planned.iter().map(|planned| {
        let node = &program.graph.nodes[planned.node];
        let (name, look) = (&node.name, planned.look_at.is_some());
        let paused = node.pause == Some(Pause::Before) || Pauses::names(&pauses.before, name);
        let held = planned.held || paused && !look;
        let state = planned.look_at.map_or(TaskState::Ready, TaskState::At);
        Task { node: name.clone(), state, look, asked: 0, held, since: 0 }
    }));
    if carried {
        draft.state.tasks.sort_by_key(|task| program.step(&task.node).map(|(ix, ..)| ix));
    }
}

fn count(visits: &mut Named<u64>, node: &str) {
    match visits.get_mut(node) {
        Some(count) => *count += 1,
        None => {
            visits.insert(node, 1);
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
