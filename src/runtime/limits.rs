//! The bounds of a run and of each call of a subgraph: whether one is reached, and what is left.

use serde_json::{Value, json};

use super::flat::{Frame, ROOT};
use super::program::Program;
use super::{Checkpoint, Progress, Usage};
use crate::base::Millis;
use crate::graph::Limits;

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
            usage: less(progress.usage, call.usage),
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

fn less(all: Usage, before: Usage) -> Usage {
    Usage {
        input_tokens: all.input_tokens.saturating_sub(before.input_tokens),
        output_tokens: all.output_tokens.saturating_sub(before.output_tokens),
        cost_usd: (all.cost_usd - before.cost_usd).max(0.0),
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
    let tokens = spent.usage.input_tokens.saturating_add(spent.usage.output_tokens);
    if let Some(limit) = limits.tokens.filter(|limit| tokens >= *limit) {
        return Some(format!("{limit} model tokens"));
    }
    let cost = spent.usage.cost_usd;
    limits.cost_usd.filter(|limit| cost >= *limit).map(|limit| format!("{limit} USD of model cost"))
}

/// What a task of a frame may still use: the least that any graph around it has left.
pub(super) fn usage_left(program: &Program, frame: usize, state: &Checkpoint) -> Usage {
    let mut place = frame;
    let mut left = usage_left_of(&program.frames[ROOT].limits, &state.progress);
    while place != ROOT {
        let frame = &program.frames[place];
        let spent = spent(frame, state, state.at);
        let own = left_of(&frame.limits, spent.usage, spent.reached.is_some());
        left.input_tokens = left.input_tokens.min(own.input_tokens);
        left.output_tokens = left.output_tokens.min(own.output_tokens);
        left.cost_usd = left.cost_usd.min(own.cost_usd);
        place = frame.parent;
    }
    left
}

fn usage_left_of(limits: &Limits, progress: &Progress) -> Usage {
    left_of(limits, progress.usage, progress.limit_reached.is_some())
}

/// Once a limit was reached, the `on_limit` path has a tenth of it anew.
fn left_of(limits: &Limits, spent: Usage, reached: bool) -> Usage {
    let bonus = if reached { 0.1 } else { 0.0 };
    let tokens = limits.tokens.map_or(u64::MAX, |limit| {
        let limit = limit.saturating_add((limit as f64 * bonus) as u64);
        limit.saturating_sub(spent.input_tokens.saturating_add(spent.output_tokens))
    });
    let cost_usd = limits
        .cost_usd
        .map_or(f64::INFINITY, |limit| (limit * (1.0 + bonus) - spent.cost_usd).max(0.0));
    Usage { input_tokens: tokens, output_tokens: tokens, cost_usd }
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
        "tokens_left": limits.tokens.map(|_| left.input_tokens),
        "cost_usd": limits.cost_usd,
        "cost_left_usd": limits.cost_usd.map(|_| left.cost_usd),
        "reached": spent.reached.as_ref().map(|(limit, _)| limit),
    })
}
