//! What a simulated run adds up to, in the words of a trial: so that predictions and measurements meet one judge.

use crate::domain::{Metric, Prediction, RequestStats, Statistic, Target};
use crate::sim::Completion;

/// Latencies and rates of one simulated config.
#[derive(Debug, Clone, PartialEq)]
pub struct Forecast {
    /// The same numbers a client would have reported.
    pub stats: RequestStats,
    /// Each target's statistic ÷ its bound, in the order of the targets; above 1 is a miss.
    pub pressures: Vec<f64>,
    /// The queue grew to the end of the run: latencies only say that it does not hold.
    pub growing: bool,
}

/// What of a run is not in its completions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Run {
    /// Time over which the counted requests arrived [s].
    pub span_s: f64,
    /// Requests that finished in that time, per second.
    pub finished_rps: f64,
    /// Their tokens per second.
    pub throughput_tok_s: f64,
    /// Requests that were refused.
    pub refused: u64,
    /// The queue grew to the end.
    pub growing: bool,
}

impl Forecast {
    /// Adds up `completions` against `targets`.
    pub fn of(completions: &[Completion], run: Run, targets: &[Target]) -> Self {
        let sorted = |value: fn(&Completion) -> Option<f64>| {
            let mut values: Vec<f64> = completions.iter().filter_map(|c| value(c)).collect();
            values.sort_by(f64::total_cmp);
            values
        };
        let samples = Samples {
            ttft: sorted(ttft_ms),
            tpot: sorted(tpot_ms),
            itl_max: sorted(itl_max_ms),
            e2e: sorted(e2e_ms),
        };
        let pressures = targets
            .iter()
            .map(|target| samples.of(target.metric, target.statistic) / target.max_ms)
            .collect();
        let good = completions.iter().filter(|completion| meets(completion, targets)).count();
        let requests = completions.len() as u64 + run.refused;
        let per_s = |count: f64| Some(count / run.span_s.max(1e-9));
        let known = |metric, statistic| {
            Some(samples.of(metric, statistic)).filter(|value: &f64| value.is_finite())
        };
        let stats = RequestStats {
            window_s: run.span_s,
            requests,
            ttft_p50_ms: known(Metric::Ttft, Statistic::P50),
            ttft_p95_ms: known(Metric::Ttft, Statistic::P95),
            tpot_p50_ms: known(Metric::Tpot, Statistic::P50),
            tpot_p95_ms: known(Metric::Tpot, Statistic::P95),
            e2e_p50_ms: known(Metric::E2e, Statistic::P50),
            e2e_p95_ms: known(Metric::E2e, Statistic::P95),
            itl_max_p95_ms: known(Metric::Itl, Statistic::P95),
            goodput_rps: per_s(good as f64),
            finished_rps: Some(run.finished_rps),
            throughput_tok_s: Some(run.throughput_tok_s),
            error_rate: (requests > 0).then(|| run.refused as f64 / requests as f64),
            requests_failed: run.refused,
            streams_cut: 0,
        };
        Self { stats, pressures, growing: run.growing }
    }

    /// The numbers that go with a proposal for `replicas` like this one. A latency that no request had is 0 ms.
    pub fn prediction(&self, replicas: u32) -> Prediction {
        let s = &self.stats;
        let all = |rate: Option<f64>| f64::from(replicas) * rate.unwrap_or_default();
        Prediction {
            ttft_p95_ms: s.ttft_p95_ms.unwrap_or_default(),
            tpot_p95_ms: s.tpot_p95_ms.unwrap_or_default(),
            e2e_p95_ms: s.e2e_p95_ms.unwrap_or_default(),
            goodput_rps: all(s.goodput_rps),
            throughput_tok_s: all(s.throughput_tok_s),
        }
    }

    /// The worst target's statistic ÷ its bound; `None` without targets.
    pub fn worst_pressure(&self) -> Option<f64> {
        self.pressures.iter().copied().reduce(f64::max)
    }

    /// Every target met with `margin` to spare (0.15: 15 % better than the bound asks), and the queue does not grow.
    pub fn meets(&self, margin: f64) -> bool {
        !self.growing && self.worst_pressure().is_none_or(|worst| worst * (1.0 + margin) <= 1.0)
    }
}

fn ttft_ms(completion: &Completion) -> Option<f64> {
    Some(1e3 * (completion.first_token_s - completion.arrival_s))
}

fn e2e_ms(completion: &Completion) -> Option<f64> {
    Some(1e3 * (completion.finished_s - completion.arrival_s))
}

/// As vLLM's `benchmarks/serve.py`: decode time ÷ gaps; `None` below two tokens.
fn tpot_ms(completion: &Completion) -> Option<f64> {
    let gaps = f64::from(completion.output_tokens) - 1.0;
    (gaps > 0.0).then(|| 1e3 * (completion.finished_s - completion.first_token_s) / gaps)
}

fn itl_max_ms(completion: &Completion) -> Option<f64> {
    (completion.output_tokens > 1).then_some(1e3 * completion.itl_max_s)
}

fn meets(completion: &Completion, targets: &[Target]) -> bool {
    targets.iter().all(|target| {
        let value = match target.metric {
            Metric::Ttft => ttft_ms(completion),
            Metric::Tpot => tpot_ms(completion),
            Metric::Itl => itl_max_ms(completion),
            Metric::E2e => e2e_ms(completion),
            Metric::Throughput | Metric::Goodput | Metric::ErrorRate => None,
        };
        value.is_none_or(|ms| ms <= target.max_ms)
    })
}

/// Ascending latencies [ms].
struct Samples {
    ttft: Vec<f64>,
    tpot: Vec<f64>,
    itl_max: Vec<f64>,
    e2e: Vec<f64>,
}

impl Samples {
    /// A statistic of a latency [ms]; NaN when there is none, which meets no bound.
    fn of(&self, metric: Metric, statistic: Statistic) -> f64 {
        let values = match metric {
            Metric::Ttft => &self.ttft,
            Metric::Tpot => &self.tpot,
            Metric::Itl => &self.itl_max,
            Metric::E2e => &self.e2e,
            Metric::Throughput | Metric::Goodput | Metric::ErrorRate => return f64::NAN,
        };
        match statistic.quantile() {
            Some(share) => quantile(values, share),
            None => values.iter().sum::<f64>() / values.len() as f64,
        }
    }
}

/// Linear between ranks, as numpy; NaN when empty.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let rank = share * last as f64;
    let (low, high) = (rank.floor() as usize, rank.ceil() as usize);
    sorted[low] + (sorted[high] - sorted[low]) * (rank - low as f64)
}
