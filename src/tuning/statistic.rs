//! Reads one number of a metric from what clients measured, and compares two of them.

use crate::domain::{Limits, Metric, Objective, RequestStats, Statistic, Target};

/// The number by which a metric is compared: the p95 of a latency, the rate of a rate.
pub fn headline(metric: Metric, stats: &RequestStats) -> Option<f64> {
    let value = match metric {
        Metric::Ttft => stats.ttft_p95_ms,
        Metric::Tpot => stats.tpot_p95_ms,
        Metric::Itl => stats.itl_max_p95_ms,
        Metric::E2e => stats.e2e_p95_ms,
        Metric::Throughput => stats.throughput_tok_s,
        Metric::Goodput => stats.goodput_rps,
        Metric::ErrorRate => stats.error_rate,
    };
    value.filter(|value| value.is_finite())
}

/// The number a target is judged by.
///
/// Clients report p50 and p95. A p90 is judged by the p95, which is stricter; a p99 by the p95, which is necessary for it;
/// a mean by the p50.
pub fn for_target(target: &Target, stats: &RequestStats) -> Option<f64> {
    let middle = matches!(target.statistic, Statistic::P50 | Statistic::Mean);
    let value = match target.metric {
        Metric::Ttft if middle => stats.ttft_p50_ms,
        Metric::Tpot if middle => stats.tpot_p50_ms,
        Metric::E2e if middle => stats.e2e_p50_ms,
        metric => return headline(metric, stats),
    };
    value.filter(|value| value.is_finite())
}

/// Whether more of the metric is better.
pub fn higher_is_better(metric: Metric) -> bool {
    matches!(metric, Metric::Throughput | Metric::Goodput)
}

/// How much better `after` is than `before`: 0.3 is 30 % better; `None` without a baseline to divide by.
///
/// A latency that falls from 100 to 70 ms and a rate that grows from 10 to 13 are both 30 % better.
pub fn improvement(metric: Metric, before: f64, after: f64) -> Option<f64> {
    let ratio = (before > 0.0).then(|| after / before)?;
    let gain = if higher_is_better(metric) { ratio - 1.0 } else { 1.0 - ratio };
    gain.is_finite().then_some(gain)
}

/// The smallest p95 bound that a standing limit or a target sets on a latency [ms].
pub fn bound(metric: Metric, objective: &Objective, limits: &Limits) -> Option<f64> {
    // A bound on a median says nothing about the tail.
    let tail = |statistic| matches!(statistic, Statistic::P90 | Statistic::P95 | Statistic::P99);
    let targets = objective
        .targets
        .iter()
        .filter(|target| target.metric == metric && tail(target.statistic))
        .map(|target| target.max_ms);
    targets.chain(limit(metric, limits)).reduce(f64::min)
}

/// The standing limit on the p95 of a latency [ms].
pub fn limit(metric: Metric, limits: &Limits) -> Option<f64> {
    match metric {
        Metric::Ttft => limits.ttft_p95_ms,
        Metric::Tpot => limits.tpot_p95_ms,
        Metric::E2e => limits.e2e_p95_ms,
        _ => None,
    }
}
