//! Closes a superstep: folds its writes, clears what lives a step only, routes every node.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::draft::Draft;
use super::flat::Role;
use super::plan::{self, Planned};
use super::program::Program;
use super::{
    Checkpoint, Data, Error, ErrorClass, Pauses, Progress, TaskResult, TaskState, channels, kind,
    limits, route, schedule,
};
use crate::graph::{Lifetime, Pause, Reducer};

/// Folds `results`, one for each finished task of the open superstep, and plans what follows. Tasks that are not finished go on.
///
/// A fold or a route that fails ends the run with that error and changes nothing else; a retry runs the tasks again.
pub(super) fn close(
    draft: &mut Draft,
    program: &Program,
    before: &Checkpoint,
    results: Vec<TaskResult>,
) {
    close_over(draft, program, before, results, Vec::new());
}

/// The same where limits were reached meanwhile: the graphs, by number, and which limit.
pub(super) fn close_over(
    draft: &mut Draft,
    program: &Program,
    before: &Checkpoint,
    results: Vec<TaskResult>,
    over: Vec<(usize, String)>,
) {
    draft.closes_superstep = true;
    let progress = &draft.state.progress;
    let (usage, counted) = (progress.usage, progress.counted.clone());
    let mut next = Next { over, ..Next::default() };
    match fold_and_route(draft, program, results, &mut next) {
        Ok(()) => {
            draft.state.tasks.retain(|task| task.state != TaskState::Finished);
            plan::open_over(draft, program, next.planned, next.over);
        }
        Err(error) => {
            undo(draft, before);
            (draft.state.progress.usage, draft.state.progress.counted) = (usage, counted);
            for task in &mut draft.state.tasks {
                if task.state == TaskState::Finished {
                    task.state = TaskState::Ready;
                }
            }
            draft.fail(plan::fatal(None, &error));
        }
    }
}

/// Takes back what was folded: a retry would fold it again.
fn undo(draft: &mut Draft, before: &Checkpoint) {
    draft.changed.clear();
    draft.state.channels.clone_from(&before.channels);
    draft.state.grants.clone_from(&before.grants);
    let (lineage, waited_ms) = (draft.state.progress.lineage, draft.state.progress.waited_ms);
    draft.state.progress = Progress { lineage, waited_ms, ..before.progress.clone() };
    draft.events.retain(|event| event.kind != kind::STEP_FINISHED);
}

/// What follows a superstep.
#[derive(Default)]
struct Next {
    planned: Vec<Planned>,
    /// Calls of subgraphs that end here, by number.
    abandoned: Vec<usize>,
    /// Limits that were reached.
    over: Vec<(usize, String)>,
}

fn fold_and_route(
    draft: &mut Draft,
    program: &Program,
    mut results: Vec<TaskResult>,
    next: &mut Next,
) -> Result<(), Error> {
    // In the order of the graph, whoever finished first: one seed, one history.
    results.sort_by_key(|result| program.step(&result.node).map(|(ix, ..)| ix));
    let finished = results.iter().map(|r| finished(r, planned_in(draft, program, &r.node)));
    let finished: Vec<Data> = finished.collect();
    for result in results.iter().filter(|result| result.failed.is_none()) {
        if let Some((ix, ..)) = program.step(&result.node)
            && let Role::Enter(frame) = program.places[ix].role
        {
            schedule::enter(draft, program, frame);
        }
    }
    fold(draft, program, &mut results)?;
    clear_step_channels(draft, program);
    for (result, data) in results.iter_mut().zip(finished) {
        draft.event(kind::STEP_FINISHED, data);
        draft.state.grants.extend(result.grant.take());
        draft.count(&result.node, result.usage);
        draft.state.progress.counted.remove(&result.node);
        if let Some(error) = &result.failed {
            draft.state.error = Some(Box::new(route::run_error(&result.node, error)));
        }
    }
    for result in &results {
        follow(draft, program, result, next)?;
    }
    for frame in std::mem::take(&mut next.abandoned) {
        schedule::leave(draft, program, frame);
        schedule::cut(draft, &program.frames[frame].prefix);
        next.planned.retain(|planned| !program.is_inside(planned.node, frame));
    }
    Ok(())
}

/// The superstep that the task of a node was planned in.
fn planned_in(draft: &Draft, program: &Program, node: &str) -> u64 {
    let state = &draft.state;
    if !program.is_eager() {
        return state.superstep;
    }
    let carried = state.tasks.iter().find(|task| task.node == node);
    carried.map_or(state.superstep, |task| task.superstep(state))
}

/// Plans what comes after one finished node.
fn follow(
    draft: &mut Draft,
    program: &Program,
    result: &TaskResult,
    next: &mut Next,
) -> Result<(), Error> {
    let Some((ix, node, step)) = program.step(&result.node) else {
        let reason = "the graph does not have it any more".to_owned();
        return Err(Error::Route { node: result.node.clone(), reason });
    };
    let planned = &mut next.planned;
    if let Some(error) = &result.failed {
        if error.class == ErrorClass::Limit {
            // Where no graph takes the limit over, a retry finds it planned.
            planned.push(Planned::start(ix));
            next.over.extend(limits::used_up(program, ix, &draft.state));
            return Ok(());
        }
        let error = route::run_error(&result.node, error);
        let Some(taken) = route::takes_over(program, ix, &draft.state, &error)? else {
            return Ok(());
        };
        if let (Role::Enter(frame), true) = (program.places[taken.owner].role, taken.owner != ix) {
            next.abandoned.push(frame);
        }
        let to = program.graph.nodes[taken.owner].on_error[taken.index].to;
        let to = to.filter(|to| schedule::arrives(draft, program, taken.owner, *to));
        planned.extend(to.map(Planned::start));
        return Ok(());
    }
    let role = program.places[ix].role;
    if let Role::Leave(frame) = role {
        schedule::leave(draft, program, frame);
    }
    let asked = Pauses::names(&draft.state.run.pauses.after, program.known_as(ix));
    let held = node.pause == Some(Pause::After) || asked && !matches!(role, Role::Enter(_));
    let at_once = |node| Planned { held, ..Planned::start(node) };
    if let Some(targets) = &result.goto {
        planned
            .extend(targets.iter().filter_map(|to| program.step(to)).map(|(to, ..)| at_once(to)));
        return Ok(());
    }
    if let (Some(repeat), Some(until)) = (&node.repeat, &step.until)
        && !route::is_settled(program, node, until, &draft.state)?
    {
        let look_at = Some(draft.state.at.plus(repeat.every_ms));
        planned.push(Planned { look_at, ..Planned::start(ix) });
        return Ok(());
    }
    for to in route::targets(program, node, step, &draft.state)? {
        if schedule::arrives(draft, program, ix, to) {
            planned.push(at_once(to));
        }
    }
    Ok(())
}

/// Folds the writes of `results` through the reducers of their channels.
pub(super) fn fold(
    draft: &mut Draft,
    program: &Program,
    results: &mut [TaskResult],
) -> Result<(), Error> {
    let mut by_channel: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for result in results {
        for (channel, value) in result.writes.drain(..) {
            by_channel.entry(channel).or_default().push(value);
        }
    }
    for (channel, writes) in by_channel {
        let Some(definition) = program.graph.channels.get(&channel) else { continue };
        let current = match definition.reducer {
            Reducer::Replace => None,
            _ => draft.value(&channel),
        };
        let folded = channels::fold(definition.reducer, current, writes)
            .map_err(|reason| Error::Fold { channel: channel.clone(), reason })?;
        program.check_folded(&channel, &folded.value)?;
        draft.set(&channel, Some(Arc::new(folded.value)), folded.kept);
    }
    Ok(())
}

/// A `step` channel is read in the superstep after its write, and gone after that.
fn clear_step_channels(draft: &mut Draft, program: &Program) {
    for (name, channel) in &program.graph.channels {
        if channel.lifetime != Lifetime::Step {
            continue;
        }
        let outlived = draft.state.channels.get(name).is_some_and(|slot| {
            slot.superstep < draft.state.superstep
                && slot.value.as_deref() != channel.default.as_ref()
        });
        if outlived {
            draft.set(name, channel.default.clone().map(Arc::new), 0);
        }
    }
}

/// What the journal says of a finished task.
fn finished(result: &TaskResult, superstep: u64) -> Data {
    let mut data = Map::new();
    if result.usage != super::Usage::default() {
        data.insert("usage".to_owned(), json!(result.usage));
    }
    if let Some(goto) = &result.goto {
        data.insert("goto".to_owned(), json!(goto));
    }
    if let Some(error) = &result.failed {
        data.insert("error".to_owned(), json!(error.problem));
        data.insert("class".to_owned(), error.class.name().into());
    }
    let more = (!data.is_empty()).then(|| Box::new(data));
    Data::Finished { node: result.node.clone(), writes: result.writes.clone(), more, superstep }
}
