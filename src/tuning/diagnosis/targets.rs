//! Whether the objective's bounds were met in a window, and by which numbers.

use crate::domain::{Latency, Metric, Objective, Observation, RequestStats, Statistic, Target};
use crate::tuning::wording::label;

/// How one bound fared.
#[derive(Debug, Clone, PartialEq)]
pub struct TargetStatus {
    /// The bound.
    pub target: Target,
    /// Met, missed, or unknown.
    pub met: Option<bool>,
    /// The statistic [ms], measured by the clients or interpolated from the server's buckets.
    pub value_ms: Option<f64>,
    /// What was compared, in words.
    pub fact: String,
}

/// Every bound of `objective` against one window.
///
/// The clients' numbers come first: they include the network and the queue in front. Without them the server's
/// histogram answers by its exact bucket edges, and by interpolation only where no edge decides.
pub fn target_statuses(objective: &Objective, observation: &Observation) -> Vec<TargetStatus> {
    objective.targets.iter().map(|target| status(target, observation)).collect()
}

/// `Some(true)` when all are met, `Some(false)` when one is missed, `None` when none is missed but some are unknown.
pub fn all_met(statuses: &[TargetStatus]) -> Option<bool> {
    if statuses.iter().any(|status| status.met == Some(false)) {
        return Some(false);
    }
    statuses.iter().all(|status| status.met.is_some()).then_some(true)
}

fn status(target: &Target, observation: &Observation) -> TargetStatus {
    let name = format!("{} {}", target.metric, label(target.statistic));
    let bound = target.max_ms;
    let client = observation.client.as_ref().filter(|client| client.requests > 0);
    if let Some(ms) = client.and_then(|stats| client_value(target, stats)) {
        let verb = if ms <= bound { "within" } else { "over" };
        let fact = format!("{name} is {ms:.0} ms, {verb} the {bound:.0} ms allowed");
        return TargetStatus {
            target: target.clone(),
            met: Some(ms <= bound),
            value_ms: Some(ms),
            fact,
        };
    }
    match server_latency(target.metric, observation).filter(|latency| latency.count > 0) {
        Some(latency) => by_histogram(target, &name, latency),
        None => TargetStatus {
            target: target.clone(),
            met: None,
            value_ms: None,
            fact: format!("{name} is not measured"),
        },
    }
}

/// The clients' number for a target; `None` where they do not report that statistic.
fn client_value(target: &Target, stats: &RequestStats) -> Option<f64> {
    match (target.metric, target.statistic) {
        (Metric::Ttft, Statistic::P50) => stats.ttft_p50_ms,
        (Metric::Ttft, Statistic::P95) => stats.ttft_p95_ms,
        (Metric::Tpot, Statistic::P50) => stats.tpot_p50_ms,
        (Metric::Tpot, Statistic::P95) => stats.tpot_p95_ms,
        (Metric::E2e, Statistic::P50) => stats.e2e_p50_ms,
        (Metric::E2e, Statistic::P95) => stats.e2e_p95_ms,
        _ => None,
    }
}

/// The server's histogram of a metric. vLLM's older pages know the gap between tokens but no TPOT per request.
fn server_latency(metric: Metric, observation: &Observation) -> Option<&Latency> {
    match metric {
        Metric::Ttft => observation.ttft.as_ref(),
        Metric::Tpot => observation.tpot.as_ref().or(observation.itl.as_ref()),
        Metric::Itl => observation.itl.as_ref(),
        Metric::E2e => observation.e2e.as_ref(),
        Metric::Throughput | Metric::Goodput | Metric::ErrorRate => None,
    }
}

fn by_histogram(target: &Target, name: &str, latency: &Latency) -> TargetStatus {
    let bound = target.max_ms;
    let value_ms = interpolated(target.statistic, latency);
    let decided = target.statistic.quantile().and_then(|share| by_edge(share, bound, latency));
    let (met, fact) = match decided {
        Some((met, edge, fraction)) => {
            let percent = 100.0 * fraction;
            (met, format!("{percent:.1} % of requests have {} ≤ {edge:.0} ms", target.metric))
        }
        None => (
            value_ms <= bound,
            format!("{name} is about {value_ms:.0} ms of {bound:.0} ms allowed"),
        ),
    };
    TargetStatus { target: target.clone(), met: Some(met), value_ms: Some(value_ms), fact }
}

/// What the exact edges prove: (met, the edge that proves it [ms], share at or under that edge).
fn by_edge(share: f64, bound: f64, latency: &Latency) -> Option<(bool, f64, f64)> {
    let same = |edge: f64| (edge - bound).abs() <= 1e-3 * bound;
    let at = latency.edges.iter().find(|edge| same(edge.le_ms));
    if let Some(edge) = at {
        return Some((edge.fraction >= share, edge.le_ms, edge.fraction));
    }
    let proves_met =
        latency.edges.iter().find(|edge| edge.le_ms <= bound && edge.fraction >= share);
    let proves_missed =
        latency.edges.iter().rev().find(|edge| edge.le_ms >= bound && edge.fraction < share);
    let met = proves_met.map(|edge| (true, edge.le_ms, edge.fraction));
    met.or(proves_missed.map(|edge| (false, edge.le_ms, edge.fraction)))
}

fn interpolated(statistic: Statistic, latency: &Latency) -> f64 {
    match statistic {
        Statistic::Mean => latency.mean_ms,
        Statistic::P50 => latency.p50_ms,
        // The page keeps no p90; the p95 is the stricter neighbour.
        Statistic::P90 | Statistic::P95 => latency.p95_ms,
        Statistic::P99 => latency.p99_ms,
    }
}
