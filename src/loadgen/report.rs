//! What a load showed.

use crate::domain::{Finish, Metric, Objective, RequestRecord, RequestStats, Statistic, Target};

/// The measured window of a load.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadReport {
    /// Requests that were *sent* in the window, in order of their sending, answers after its end included.
    pub records: Vec<RequestRecord>,
    /// What they add up to, over the length of the window.
    pub stats: RequestStats,
    /// Requests sent per second of the window.
    pub offered_rps: f64,
    /// Complete answers per second from the window's start to the last answer: what the server really does
    /// when more is offered than it can take.
    pub completed_rps: f64,
    /// From the window's end to the last answer [s]. Long: a queue had built up.
    pub drain_s: f64,
    /// Share of requests that were complete and within the objective, 0–1; `None` without an objective or requests.
    pub within_objective: Option<f64>,
    /// How late the generator itself sent, at worst [ms]. Above a few: it, not the server, was measured.
    pub lateness_max_ms: f64,
}

/// Share of `records` that were complete and met every bound, 0–1. Failed and cut ones missed; client aborts are left out.
pub fn share_within(records: &[RequestRecord], objective: &Objective) -> Option<f64> {
    share(records, |record| objective.met_by(record))
}

fn share(records: &[RequestRecord], good: impl Fn(&RequestRecord) -> bool) -> Option<f64> {
    let counted = records.iter().filter(|record| record.finish != Finish::ClientGone);
    let (mut all, mut within) = (0_u32, 0_u32);
    for record in counted {
        all += 1;
        within += u32::from(record.finish == Finish::Complete && good(record));
    }
    (all > 0).then(|| f64::from(within) / f64::from(all))
}

/// Whether a window met an objective: every quantile target by the share of requests within its bound, every mean
/// target by the mean. A failed request is within no bound; no request at all is no pass.
pub fn meets(records: &[RequestRecord], objective: &Objective) -> bool {
    !records.is_empty() && objective.targets.iter().all(|target| meets_target(records, target))
}

fn meets_target(records: &[RequestRecord], target: &Target) -> bool {
    let Some(quantile) = target.statistic.quantile() else {
        let values: Vec<f64> =
            records.iter().filter_map(|r| latency_ms(r, target.metric)).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let failed = records.iter().any(|r| matches!(r.finish, Finish::Failed | Finish::Cut));
        return target.statistic == Statistic::Mean && !failed && mean <= target.max_ms;
    };
    let within = |record: &RequestRecord| {
        latency_ms(record, target.metric).is_none_or(|value| value <= target.max_ms)
    };
    share(records, within).is_some_and(|share| share >= quantile)
}

fn latency_ms(record: &RequestRecord, metric: Metric) -> Option<f64> {
    match metric {
        Metric::Ttft => record.ttft_ms,
        Metric::Tpot => record.tpot_ms,
        Metric::Itl => record.itl_max_ms,
        Metric::E2e => record.e2e_ms,
        Metric::Throughput | Metric::Goodput | Metric::ErrorRate => None,
    }
}
