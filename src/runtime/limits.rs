//! The bounds of a run: whether one is reached, and what is left.

use serde_json::{Value, json};

use super::{Checkpoint, Progress, Usage};
use crate::base::Millis;
use crate::graph::{Graph, Limits};

/// Supersteps that a run may still take once a limit sent it to its `on_limit` node: each node once.
fn grace(graph: &Graph) -> u64 {
    graph.nodes.len() as u64
}

/// Which limit forbids the next superstep, as text: `80 supersteps`.
///
/// `planned` are the nodes about to start, the looks of a `repeat` left out.
pub(super) fn reached<'a>(
    graph: &Graph,
    state: &Checkpoint,
    planned: impl Iterator<Item = &'a str>,
    now: Millis,
) -> Option<String> {
    let limits = &graph.limits;
    let progress = &state.progress;
    if let Some((limit, since)) = &progress.limit_reached {
        let over = state.superstep >= since + grace(graph);
        return over.then(|| limit.clone());
    }
    let mut planned = planned.peekable();
    if planned.peek().is_some() && progress.supersteps >= limits.supersteps {
        return Some(format!("{} supersteps", limits.supersteps));
    }
    for node in planned {
        let visits = progress.visits.get(node).copied().unwrap_or(0);
        if visits >= limits.visits_per_node {
            return Some(format!("{} visits of node `{node}`", limits.visits_per_node));
        }
    }
    if let Some(wall_ms) = limits.wall_ms.filter(|wall_ms| spent_ms(state, now) >= *wall_ms) {
        return Some(format!("{wall_ms} ms of wall time"));
    }
    let tokens = progress.usage.input_tokens.saturating_add(progress.usage.output_tokens);
    if let Some(limit) = limits.tokens.filter(|limit| tokens >= *limit) {
        return Some(format!("{limit} model tokens"));
    }
    let cost = progress.usage.cost_usd;
    limits.cost_usd.filter(|limit| cost >= *limit).map(|limit| format!("{limit} USD of model cost"))
}

/// Wall time of the run without the time spent waiting for a person alone [ms].
fn spent_ms(state: &Checkpoint, now: Millis) -> u64 {
    now.since(state.run.started).saturating_sub(state.progress.waited_ms)
}

/// What a task may still use. Once a limit was reached, the `on_limit` path has a tenth of it anew.
pub(super) fn usage_left(limits: &Limits, progress: &Progress) -> Usage {
    let spent = progress.usage;
    let bonus = if progress.limit_reached.is_some() { 0.1 } else { 0.0 };
    let tokens = limits.tokens.map_or(u64::MAX, |limit| {
        let limit = limit.saturating_add((limit as f64 * bonus) as u64);
        limit.saturating_sub(spent.input_tokens.saturating_add(spent.output_tokens))
    });
    let cost_usd = limits
        .cost_usd
        .map_or(f64::INFINITY, |limit| (limit * (1.0 + bonus) - spent.cost_usd).max(0.0));
    Usage { input_tokens: tokens, output_tokens: tokens, cost_usd }
}

/// `limits` as conditions see it.
pub(super) fn scope(graph: &Graph, state: &Checkpoint, now: Millis) -> Value {
    let limits = &graph.limits;
    let left = usage_left(limits, &state.progress);
    json!({
        "supersteps": limits.supersteps,
        "supersteps_left": limits.supersteps.saturating_sub(state.progress.supersteps),
        "visits_per_node": limits.visits_per_node,
        "wall_ms": limits.wall_ms,
        "wall_left_ms": limits.wall_ms.map(|wall| wall.saturating_sub(spent_ms(state, now))),
        "tokens": limits.tokens,
        "tokens_left": limits.tokens.map(|_| left.input_tokens),
        "cost_usd": limits.cost_usd,
        "cost_left_usd": limits.cost_usd.map(|_| left.cost_usd),
        "reached": state.progress.limit_reached.as_ref().map(|(limit, _)| limit),
    })
}
