//! `limits`, `defaults` and the retry policies.

use super::RetryPolicy;
use super::fields::{Fields, Word, text};
use super::finding::{Findings, suggest};
use super::yaml::Tree;

pub(super) const LIMIT_KEYS: [&str; 6] =
    ["supersteps", "visits_per_node", "wall", "tokens", "cost_usd", "on_limit"];
pub(super) const DEFAULT_KEYS: [&str; 2] = ["timeout", "retry"];
pub(super) const RETRY_KEYS: [&str; 6] = ["max", "initial", "factor", "cap", "jitter", "on"];

/// Classes of error that another try may mend.
pub(super) const RETRIED: [&str; 3] = ["timeout", "unavailable", "rate_limited"];

/// Longest single attempt where nobody says otherwise [ms].
const TIMEOUT_MS: u64 = 60_000;

/// `limits` as written.
#[derive(Default)]
pub(super) struct LimitsDraft<'t> {
    pub(super) supersteps: Option<u64>,
    pub(super) visits_per_node: Option<u64>,
    pub(super) wall_ms: Option<u64>,
    pub(super) tokens: Option<u64>,
    pub(super) cost_usd: Option<f64>,
    pub(super) on_limit: Option<Word<'t>>,
}

impl LimitsDraft<'_> {
    /// A loop ends.
    pub(super) fn ends_loops(&self) -> bool {
        self.supersteps.is_some() || self.visits_per_node.is_some()
    }

    /// (supersteps, visits per node) in force for a graph of so many nodes.
    ///
    /// Where only one is written the other follows from it. Where none is, the graph has no loop: each node runs at
    /// most once per way to it, and twice where it waits; a run that goes on longer is a fault of the runtime.
    pub(super) fn bounds(&self, nodes: usize) -> (u64, u64) {
        let nodes = nodes as u64;
        match (self.supersteps, self.visits_per_node) {
            (Some(supersteps), Some(visits)) => (supersteps, visits),
            (Some(supersteps), None) => (supersteps, supersteps),
            (None, Some(visits)) => (visits.saturating_mul(nodes), visits),
            // Looks of a `repeat` are bounded by the wall alone.
            (None, None) if self.wall_ms.is_some() => (u64::MAX, u64::MAX),
            (None, None) => (2 * nodes, 2 * nodes),
        }
    }
}

pub(super) fn limits<'t>(graph: &Fields<'t>, findings: &mut Findings) -> LimitsDraft<'t> {
    let fields = graph.get("limits");
    let fields = fields.and_then(|tree| Fields::of(tree, "`limits`", &LIMIT_KEYS, findings));
    let Some(fields) = fields else { return LimitsDraft::default() };
    LimitsDraft {
        supersteps: fields.whole("supersteps", 1, findings),
        visits_per_node: fields.whole("visits_per_node", 1, findings),
        wall_ms: fields.duration_ms("wall", findings),
        tokens: fields.whole("tokens", 1, findings),
        cost_usd: fields.number("cost_usd", 0.0, findings),
        on_limit: fields.text("on_limit", findings),
    }
}

/// What nodes do that say nothing themselves.
pub(super) struct Defaults {
    pub(super) timeout_ms: u64,
    pub(super) retry: RetryPolicy,
}

pub(super) fn defaults(graph: &Fields<'_>, findings: &mut Findings) -> Defaults {
    // Nobody asked for another try, so there is none; who asks gets these pauses.
    let mut defaults = Defaults {
        timeout_ms: TIMEOUT_MS,
        retry: RetryPolicy {
            max: 0,
            initial_ms: 500,
            factor: 2.0,
            cap_ms: 20_000,
            jitter: true,
            on: RETRIED.map(str::to_owned).to_vec(),
        },
    };
    let fields = graph.get("defaults");
    let fields = fields.and_then(|tree| Fields::of(tree, "`defaults`", &DEFAULT_KEYS, findings));
    let Some(fields) = fields else { return defaults };
    if let Some(timeout_ms) = fields.duration_ms("timeout", findings) {
        defaults.timeout_ms = timeout_ms;
    }
    if let Some(tree) = fields.get("retry") {
        defaults.retry = retry(tree, &defaults.retry, findings);
    }
    defaults
}

/// `base` with what `tree` says.
pub(super) fn retry(tree: &Tree, base: &RetryPolicy, findings: &mut Findings) -> RetryPolicy {
    let mut policy = base.clone();
    let Some(fields) = Fields::of(tree, "`retry`", &RETRY_KEYS, findings) else { return policy };
    if let Some(max) = fields.whole("max", 0, findings) {
        policy.max = u32::try_from(max).unwrap_or(u32::MAX);
    }
    if let Some(initial_ms) = fields.duration_ms("initial", findings) {
        policy.initial_ms = initial_ms;
    }
    if let Some(factor) = fields.number("factor", 1.0, findings) {
        policy.factor = factor;
    }
    if let Some(cap_ms) = fields.duration_ms("cap", findings) {
        policy.cap_ms = cap_ms;
    }
    if let Some(jitter) = fields.bool("jitter", findings) {
        policy.jitter = jitter;
    }
    if let Some(classes) = fields.list("on", findings) {
        let classes: Vec<Word<'_>> =
            classes.iter().filter_map(|class| text(class, "on", findings)).collect();
        for (class, at) in classes.iter().filter(|(class, _)| !RETRIED.contains(class)) {
            let message = format!("`{class}` is no class of error that another try may mend");
            findings.add("PA015", *at, message, suggest(class, RETRIED));
        }
        policy.on = classes.into_iter().map(|(class, _)| class.to_owned()).collect();
    }
    policy
}
