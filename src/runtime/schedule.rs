//! Who waits for whom: joins, nodes that are deferred, calls of subgraphs that end when nothing inside has anything to do.

use std::sync::Arc;

use super::draft::Draft;
use super::flat::{ROOT, Role};
use super::plan::Planned;
use super::program::Program;
use super::{Call, Checkpoint, Error, JoinState};
use crate::graph::{Lifetime, Memory, NodeIx};

/// A frame that cannot go on, and why.
pub(super) struct Stuck {
    pub(super) frame: usize,
    pub(super) error: Error,
    /// What was ready elsewhere.
    pub(super) ready: Vec<Planned>,
}

/// Whether `to`, to which `from` has led, runs now. A join is counted, and runs once for all that lead to it.
pub(super) fn arrives(draft: &mut Draft, program: &Program, from: NodeIx, to: NodeIx) -> bool {
    let Some(join) = &program.graph.nodes[to].join else { return true };
    let (name, from) = (&program.graph.nodes[to].name, program.known_as(from).to_owned());
    let joins = &mut draft.state.progress.joins;
    let state = joins.entry(name.clone()).or_default();
    if state.fired && state.arrived.contains(&from) {
        // It has run for this node: this is the next round.
        *state = JoinState::default();
    }
    state.arrived.insert(from);
    let runs = !state.fired && state.arrived.len() >= join.need;
    state.fired |= runs;
    if state.fired && state.arrived.len() == join.after.len() {
        joins.remove(name);
    }
    runs
}

/// What of `planned` runs now. Nodes that wait for others are kept back; who has nothing left to wait for is added, and so is
/// the last door of each call in which nothing is left to do.
///
/// Errors: a join that waits for a node that will not come.
pub(super) fn ready(
    draft: &mut Draft,
    program: &Program,
    planned: Vec<Planned>,
) -> Result<Vec<Planned>, Stuck> {
    if program.is_simple {
        return Ok(planned);
    }
    let mut ready = Vec::with_capacity(planned.len());
    for planned in planned {
        if waits(draft, program, &planned) {
            let name = program.graph.nodes[planned.node].name.clone();
            draft.state.progress.deferred.insert(name);
        } else {
            call_around(draft, program, planned.node);
            ready.push(planned);
        }
    }
    loop {
        match released(draft, program, &ready) {
            Ok(Some(next)) => {
                call_around(draft, program, next);
                ready.push(Planned::start(next));
            }
            Ok(None) => return Ok(ready),
            Err((frame, error)) => return Err(Stuck { frame, error, ready }),
        }
    }
}

fn waits(draft: &Draft, program: &Program, planned: &Planned) -> bool {
    if planned.look_at.is_some() {
        return false;
    }
    let called = match program.places[planned.node].role {
        Role::Enter(frame) => draft.state.progress.calls.contains_key(&program.frames[frame].path),
        Role::Work | Role::Leave(_) => false,
    };
    called || program.graph.nodes[planned.node].defer || at_work(draft, program, planned.node)
}

/// Whether a node is among the tasks of superstep before that go on.
fn at_work(draft: &Draft, program: &Program, node: NodeIx) -> bool {
    draft.state.tasks.iter().any(|task| task.node == program.graph.nodes[node].name)
}

/// A node that has nothing to wait for any more.
fn released(
    draft: &mut Draft,
    program: &Program,
    ready: &[Planned],
) -> Result<Option<NodeIx>, (usize, Error)> {
    // A frame is laid out before those inside it.
    for (number, frame) in program.frames.iter().enumerate().rev() {
        let progress = &draft.state.progress;
        if number != ROOT && !progress.calls.contains_key(&frame.path) {
            continue;
        }
        let busy = ready.iter().any(|planned| program.is_inside(planned.node, number))
            || draft.state.tasks.iter().any(|task| task.node.starts_with(&frame.prefix));
        let kept = progress.deferred.iter().filter_map(|name| program.step(name));
        let next = kept.into_iter().find_map(|(node, definition, _)| {
            let place = &program.places[node];
            let again = match place.role {
                Role::Enter(child) => progress.calls.contains_key(&program.frames[child].path),
                Role::Work | Role::Leave(_) => false,
            };
            let free = !again && (!definition.defer || !busy) && !at_work(draft, program, node);
            (place.frame == number && free).then_some(node)
        });
        if let Some(node) = next {
            draft.state.progress.deferred.remove(&program.graph.nodes[node].name);
            return Ok(Some(node));
        }
        if busy {
            continue;
        }
        if let Some(error) = starved(&draft.state, program, number) {
            return Err((number, error));
        }
        if let Some((_, leave)) = frame.doors {
            return Ok(Some(leave));
        }
    }
    Ok(None)
}

/// The join of a frame that some have come to and the rest will not.
fn starved(state: &Checkpoint, program: &Program, frame: usize) -> Option<Error> {
    state.progress.joins.iter().filter(|(_, join)| !join.fired).find_map(|(name, state)| {
        let (node, definition, _) = program.step(name)?;
        let after = &definition.join.as_ref()?.after;
        if program.places[node].frame != frame {
            return None;
        }
        let names = after.iter().map(|node| &program.graph.nodes[*node].name);
        let missing: Vec<&str> =
            names.filter(|name| !state.arrived.contains(*name)).map(String::as_str).collect();
        Some(Error::JoinStarved { node: name.clone(), missing: missing.join("`, `") })
    })
}

/// Notes the calls that a node belongs to, where they are not noted: a person sent the run there.
fn call_around(draft: &mut Draft, program: &Program, node: NodeIx) {
    let mut frame = program.places[node].frame;
    while frame != ROOT {
        let path = &program.frames[frame].path;
        if !draft.state.progress.calls.contains_key(path) {
            begin(draft, path);
        }
        frame = program.frames[frame].parent;
    }
}

fn begin(draft: &mut Draft, path: &str) {
    let progress = &draft.state.progress;
    let call = Call {
        supersteps: 0,
        entered: draft.state.at,
        waited_ms: progress.waited_ms,
        usage: progress.usage,
        limit_reached: None,
    };
    draft.state.progress.calls.insert(path.to_owned(), call);
}

/// Begins a call: counters from nothing, channels as the subgraph's memory says.
pub(super) fn enter(draft: &mut Draft, program: &Program, frame: usize) {
    let frame = &program.frames[frame];
    forget(draft, &frame.prefix);
    begin(draft, &frame.path);
    for (_, name) in &frame.channels {
        let Some(channel) = program.graph.channels.get(name) else { continue };
        let held = draft.value(name);
        let keeps = frame.memory == Memory::Thread
            && channel.lifetime == Lifetime::Thread
            && held.is_some();
        if !keeps && held.as_deref() != channel.default.as_ref() {
            draft.set(name, channel.default.clone().map(Arc::new), 0);
        }
    }
}

/// Ends a call, by its last door or because its failure was taken over outside.
pub(super) fn leave(draft: &mut Draft, program: &Program, frame: usize) {
    let frame = &program.frames[frame];
    draft.state.progress.calls.remove(&frame.path);
    clear(draft, &frame.prefix);
    if frame.memory == Memory::None {
        for (_, name) in &frame.channels {
            if draft.value(name).is_some() {
                draft.set(name, None, 0);
            }
        }
    }
}

/// Takes what is still at work inside off the plan.
pub(super) fn cut(draft: &mut Draft, prefix: &str) {
    draft.state.tasks.retain(|task| !task.node.starts_with(prefix));
}

/// Forgets who waits inside, and for whom.
pub(super) fn clear(draft: &mut Draft, prefix: &str) {
    draft.state.progress.calls.retain(|path, _| !path.starts_with(prefix));
    draft.state.progress.deferred.retain(|name| !name.starts_with(prefix));
    draft.state.progress.joins.retain(|name, _| !name.starts_with(prefix));
}

/// Forgets how often the nodes inside were started.
fn forget(draft: &mut Draft, prefix: &str) {
    draft.state.progress.visits.retain(|name, _| !name.starts_with(prefix));
}
