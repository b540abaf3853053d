//! The bounds of a run and of each call of a subgraph: whether one is reached, and what is left.

use serde_json::{Value, json};

use super::flat::{Frame, ROOT};
use super::program::Program;
use super::{Budget, Checkpoint, Status, Usage};
use crate::base::Millis;
use crate::graph::{Limits, NodeIx};

/// What a frame has used up.
struct Spent {
    supersteps: u64,
    wall_ms: u64,
    usage: Usage,
    reached: Option<(String, u64)>,
}

fn spent(frame: &Frame, state: &Checkpoint, now: Millis) -> Spent {
    let progress = &state.progress;
    let wall_ms = |since: Millis, waited_ms: u64| {
        let waited = progress.waited_ms.saturating_sub(waited_ms);
        now.since(since).saturating_sub(waited)
    };
    match progress.calls.get(&frame.path) {
        Some(call) if frame.doors.is_some() => Spent {
            supersteps: call.supersteps,
            wall_ms: wall_ms(call.entered, call.waited_ms),
            usage: progress.usage.since(call.usage),
            reached: call.limit_reached.clone(),
        },
        _ => Spent {
            supersteps: progress.supersteps,
            // Time spent waiting for a person alone is not the run's.
            wall_ms: wall_ms(state.run.started, 0),
            usage: progress.usage,
            reached: progress.limit_reached.clone(),
        },
    }
}

/// Which limit of a frame forbids the next superstep, as text: `80 supersteps`.
///
/// `planned` are its nodes that are about to start, the looks of a `repeat` left out. Once a limit sent it to its `on_limit`
/// node it may still take as many supersteps as it has nodes.
pub(super) fn reached<'a>(
    frame: &Frame,
    state: &Checkpoint,
    planned: impl Iterator<Item = &'a str>,
    now: Millis,
) -> Option<String> {
    let (limits, spent) = (&frame.limits, spent(frame, state, now));
    if let Some((limit, since)) = spent.reached {
        let over = state.superstep >= since + frame.nodes.len() as u64;
        return over.then_some(limit);
    }
    let mut planned = planned.peekable();
    // Whoever started the run may bound it further; what a call inside it takes is part of that.
    let asked = state.run.supersteps_max.filter(|_| frame.doors.is_none());
    let supersteps = asked.map_or(limits.supersteps, |asked| asked.min(limits.supersteps));
    if planned.peek().is_some() && spent.supersteps >= supersteps {
        return Some(format!("{supersteps} supersteps"));
    }
    for node in planned {
        let visits = state.progress.visits.get(node).copied().unwrap_or(0);
        if visits >= limits.visits_per_node {
            return Some(format!("{} visits of node `{node}`", limits.visits_per_node));
        }
    }
    if let Some(wall_ms) = limits.wall_ms.filter(|wall_ms| spent.wall_ms >= *wall_ms) {
        return Some(format!("{wall_ms} ms of wall time"));
    }
    over_budget(limits, &spent)
}

/// Which limit of what models take is used up.
fn over_budget(limits: &Limits, spent: &Spent) -> Option<String> {
    let left = left_of(limits, spent.usage, spent.reached.is_some());
    if let (Some(limit), Some(0)) = (limits.tokens, left.tokens) {
        return Some(format!("{limit} model tokens"));
    }
    let cost = limits.cost_usd.filter(|_| left.cost_usd.is_some_and(|left| left <= 0.0));
    cost.map(|limit| format!("{limit} USD of model cost"))
}

/// The innermost graph around a node whose limit of what models take is used up, and that limit.
pub(super) fn used_up(
    program: &Program,
    node: NodeIx,
    state: &Checkpoint,
) -> Option<(usize, String)> {
    around(program, program.places[node].frame).find_map(|number| {
        let frame = &program.frames[number];
        Some((number, over_budget(&frame.limits, &spent(frame, state, state.at))?))
    })
}

/// A graph and those around it, the innermost first.
fn around(program: &Program, frame: usize) -> impl Iterator<Item = usize> {
    let parent = |frame: &usize| (*frame != ROOT).then(|| program.frames[*frame].parent);
    std::iter::successors(Some(frame), parent)
}

/// Wall time that is left to a node of a graph [ms]: the least that any graph around it has. `None`: no limit.
pub(super) fn wall_left_ms(
    program: &Program,
    frame: usize,
    state: &Checkpoint,
    now: Millis,
) -> Option<u64> {
    let left = |number| wall_left_of(&program.frames[number], state, now);
    around(program, frame).filter_map(left).min()
}

/// `None`: no limit, or it was reached before, and what is done about it is not bound by it any more.
fn wall_left_of(frame: &Frame, state: &Checkpoint, now: Millis) -> Option<u64> {
    let wall_ms = frame.limits.wall_ms?;
    let spent = spent(frame, state, now);
    spent.reached.is_none().then(|| wall_ms.saturating_sub(spent.wall_ms))
}

/// The graph at work that runs out of wall time first, and when, if nothing happens before.
fn first_out(program: &Program, state: &Checkpoint) -> Option<(Millis, usize)> {
    let goes_on =
        |frame: &Frame| frame.doors.is_none() || state.progress.calls.contains_key(&frame.path);
    let frames = program.frames.iter().enumerate().filter(|(_, frame)| goes_on(frame));
    let ends = frames.filter_map(|(number, frame)| {
        Some((state.at.plus(wall_left_of(frame, state, state.at)?), number))
    });
    ends.min()
}

/// When a run that waits runs out of wall time. `None`: it does not wait for a time or a signal, or has no such limit.
pub(super) fn wall_end(program: &Program, state: &Checkpoint) -> Option<Millis> {
    if state.status != Status::Waiting {
        return None;
    }
    first_out(program, state).map(|(at, _)| at)
}

/// The graph of a waiting run that has run out of wall time by `now`, and that limit.
pub(super) fn out_of_time(
    program: &Program,
    state: &Checkpoint,
    now: Millis,
) -> Option<(usize, String)> {
    if state.status != Status::Waiting {
        return None;
    }
    let (_, number) = first_out(program, state).filter(|(at, _)| *at <= now)?;
    let wall_ms = program.frames[number].limits.wall_ms?;
    Some((number, format!("{wall_ms} ms of wall time")))
}

/// What a task of a frame may still use: the least that any graph around it has left.
pub(super) fn budget(program: &Program, frame: usize, state: &Checkpoint) -> Budget {
    let left = |number: usize| {
        let frame = &program.frames[number];
        let spent = spent(frame, state, state.at);
        left_of(&frame.limits, spent.usage, spent.reached.is_some())
    };
    around(program, frame).map(left).fold(Budget::default(), Budget::within)
}

/// Once a limit was reached, the `on_limit` path has a tenth of it anew.
fn left_of(limits: &Limits, spent: Usage, reached: bool) -> Budget {
    let bonus = if reached { 0.1 } else { 0.0 };
    let tokens = limits.tokens.map(|limit| {
        let limit = limit.saturating_add((limit as f64 * bonus) as u64);
        limit.saturating_sub(spent.tokens())
    });
    let cost_usd = limits.cost_usd.map(|limit| (limit * (1.0 + bonus) - spent.cost_usd).max(0.0));
    Budget { tokens, cost_usd }
}

/// `limits` as conditions of a frame see it.
pub(super) fn scope(frame: &Frame, state: &Checkpoint, now: Millis) -> Value {
    let (limits, spent) = (&frame.limits, spent(frame, state, now));
    let left = left_of(limits, spent.usage, spent.reached.is_some());
    json!({
        "supersteps": limits.supersteps,
        "supersteps_left": limits.supersteps.saturating_sub(spent.supersteps),
        "visits_per_node": limits.visits_per_node,
        "wall_ms": limits.wall_ms,
        "wall_left_ms": limits.wall_ms.map(|wall| wall.saturating_sub(spent.wall_ms)),
        "tokens": limits.tokens,
        "tokens_left": left.tokens,
        "cost_usd": limits.cost_usd,
        "cost_left_usd": left.cost_usd,
        "reached": spent.reached.as_ref().map(|(limit, _)| limit),
    })
}
