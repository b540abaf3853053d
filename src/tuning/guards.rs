//! What a rollout of an accepted trial must watch.

use super::statistic::limit;
use super::trade::{Trade, trade};
use crate::domain::{Guard, GuardRule, Limits, Metric, Objective, RequestStats, Trial};

/// Worse by more than this in the trial is a trade, to be bounded instead of compared.
const TRADE_FROM: f64 = 0.08;
/// Worse than stable by this share is evidence against the canary.
const TOLERANCE: f64 = 0.10;
/// Promotion needs proof that it is not worse by this share.
const MARGIN: f64 = 0.15;
/// A bound on a p95 may be missed by one in twenty.
const MISS_RATIO_MAX: f64 = 0.05;

/// One guard for TTFT and one for TPOT.
///
/// Not worse than stable, unless the trial showed the metric worse as the price of its gain: then within the declared
/// bound, or within twice the baseline's p95 where a faster answer pays for slower tokens. A trial that measured nothing
/// leaves the deployment's own limits as the bounds.
pub fn guards(objective: &Objective, limits: &Limits, trial: &Trial) -> Vec<Guard> {
    let measured = trial.baseline.as_ref().zip(trial.measured.as_ref());
    let rule = |metric| match measured {
        Some((baseline, measured)) => rule(metric, objective, limits, baseline, measured),
        None => limit(metric, limits).map_or_else(not_worse, |limit_ms| GuardRule::Within {
            limit_ms,
            miss_ratio_max: MISS_RATIO_MAX,
        }),
    };
    [Metric::Ttft, Metric::Tpot].map(|metric| Guard { metric, rule: rule(metric) }).into()
}

fn rule(
    metric: Metric,
    objective: &Objective,
    limits: &Limits,
    baseline: &RequestStats,
    measured: &RequestStats,
) -> GuardRule {
    match trade(metric, TRADE_FROM, objective, limits, baseline, measured) {
        Trade::WithinBound(limit_ms) | Trade::ForE2e(limit_ms) => {
            GuardRule::Within { limit_ms, miss_ratio_max: MISS_RATIO_MAX }
        }
        Trade::Unknown | Trade::Kept | Trade::Refused => not_worse(),
    }
}

fn not_worse() -> GuardRule {
    GuardRule::NotWorse { tolerance: TOLERANCE, margin: MARGIN }
}
