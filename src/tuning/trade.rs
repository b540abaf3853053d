//! When one latency may get worse so that another gets better.

use super::statistic::{bound, headline, improvement};
use crate::domain::{Limits, Metric, Objective, RequestStats};

/// What became of a latency's p95 between baseline and candidate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Trade {
    /// Not measured on both sides.
    Unknown,
    /// Not worse than the tolerance.
    Kept,
    /// Worse, and still under a bound that somebody declared [ms].
    WithinBound(f64),
    /// Worse without a bound; E2E latency fell by a fifth or more and this at most doubled [ms, twice the baseline].
    ForE2e(f64),
    /// Worse, and nothing allows it.
    Refused,
}

/// E2E latency must fall by this share to pay for a latency without a bound.
const E2E_GAIN_MIN: f64 = 0.20;

/// Judges `metric` (TTFT or TPOT), worse when its p95 rises by more than `tolerance`.
///
/// More requests in a batch make each token slower and the whole answer faster: a normal trade, allowed when the answer is
/// at least 20 % faster, the token at most twice as slow, and neither a limit nor `keep` forbids it.
pub fn trade(
    metric: Metric,
    tolerance: f64,
    objective: &Objective,
    limits: &Limits,
    baseline: &RequestStats,
    measured: &RequestStats,
) -> Trade {
    let Some((before, after)) = headline(metric, baseline).zip(headline(metric, measured)) else {
        return Trade::Unknown;
    };
    if after <= before * (1.0 + tolerance) {
        return Trade::Kept;
    }
    if objective.keep.contains(&metric) {
        return Trade::Refused;
    }
    if let Some(bound) = bound(metric, objective, limits) {
        return if after <= bound { Trade::WithinBound(bound) } else { Trade::Refused };
    }
    let e2e = headline(Metric::E2e, baseline).zip(headline(Metric::E2e, measured));
    let gain = e2e.and_then(|(before, after)| improvement(Metric::E2e, before, after));
    match gain.is_some_and(|gain| gain >= E2E_GAIN_MIN) && after <= 2.0 * before {
        true => Trade::ForE2e(2.0 * before),
        false => Trade::Refused,
    }
}
