//! One served request as its client saw it, and what many of them add up to.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Arm, Objective};
use crate::base::Millis;

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// A finish reason arrived: stop or length.
    Complete,
    /// The server refused or failed it before the first byte.
    Failed,
    /// The stream broke, or said `[DONE]` without a finish reason.
    Cut,
    /// The client went away.
    ClientGone,
}

/// One request through the data plane.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RequestRecord {
    /// Which arm served it.
    pub arm: Arm,
    /// Probability with which its session was sent to the canary, logged at session start, 0–1.
    pub canary_probability: f64,
    /// Hash of the session.
    pub session: String,
    /// First request of its session seen in this rollout.
    pub first_turn: bool,
    /// False when an override header chose the arm: not evidence.
    pub randomized: bool,
    /// Sent.
    pub started: Millis,
    /// Last byte.
    pub finished: Millis,
    /// Time to first token [ms]; `None` when none arrived.
    pub ttft_ms: Option<f64>,
    /// Mean time per output token [ms]; `None` below two tokens.
    pub tpot_ms: Option<f64>,
    /// Largest gap between tokens [ms].
    pub itl_max_ms: Option<f64>,
    /// Sent → last token [ms]; `None` unless complete.
    pub e2e_ms: Option<f64>,
    /// Prompt tokens, when the server reported them.
    pub input_tokens: Option<u32>,
    /// Output tokens.
    pub output_tokens: u32,
    /// HTTP status; 0 when no answer came.
    pub status: u16,
    /// How it ended.
    pub finish: Finish,
}

/// What a window of requests adds up to. Every latency is over *complete* requests, and failures are counted beside it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RequestStats {
    /// Length of the window [s].
    pub window_s: f64,
    /// Requests that ended in the window, client aborts left out.
    pub requests: u64,
    /// Time to first token, median [ms].
    pub ttft_p50_ms: Option<f64>,
    /// Time to first token, p95 [ms].
    pub ttft_p95_ms: Option<f64>,
    /// Time per output token, median [ms].
    pub tpot_p50_ms: Option<f64>,
    /// Time per output token, p95 [ms].
    pub tpot_p95_ms: Option<f64>,
    /// E2E latency, median [ms].
    pub e2e_p50_ms: Option<f64>,
    /// E2E latency, p95 [ms].
    pub e2e_p95_ms: Option<f64>,
    /// Largest inter-token gap of a request, p95 [ms].
    pub itl_max_p95_ms: Option<f64>,
    /// Complete requests per second that met every bound of the objective.
    pub goodput_rps: Option<f64>,
    /// Complete requests per second.
    pub finished_rps: Option<f64>,
    /// Generated tokens per second.
    pub throughput_tok_s: Option<f64>,
    /// Failed and cut ÷ all, 0–1.
    pub error_rate: Option<f64>,
    /// Requests refused or failed before the first byte.
    pub requests_failed: u64,
    /// Streams that broke.
    pub streams_cut: u64,
}

impl RequestStats {
    /// Adds up `records` over `window_s` [s]. Goodput counts the requests that met the objective's bounds one by one.
    ///
    /// Percentiles are exact, nearest-rank with linear interpolation between ranks (numpy's default).
    pub fn of(records: &[&RequestRecord], window_s: f64, objective: Option<&Objective>) -> Self {
        let counted: Vec<_> = records.iter().filter(|r| r.finish != Finish::ClientGone).collect();
        let complete: Vec<_> =
            counted.iter().filter(|r| r.finish == Finish::Complete).copied().collect();
        let sorted = |field: fn(&RequestRecord) -> Option<f64>| {
            let mut values: Vec<f64> = complete.iter().filter_map(|r| field(r)).collect();
            values.sort_by(f64::total_cmp);
            values
        };
        let (ttft, tpot) = (sorted(|r| r.ttft_ms), sorted(|r| r.tpot_ms));
        let (e2e, itl) = (sorted(|r| r.e2e_ms), sorted(|r| r.itl_max_ms));
        let per_s = |count: f64| (window_s > 0.0).then(|| count / window_s);
        let good = complete.iter().filter(|r| objective.is_none_or(|o| o.met_by(r))).count();
        let tokens: f64 = complete.iter().map(|r| f64::from(r.output_tokens)).sum();
        let count = |finish| counted.iter().filter(|r| r.finish == finish).count() as u64;
        let (requests_failed, streams_cut) = (count(Finish::Failed), count(Finish::Cut));
        let bad = (requests_failed + streams_cut) as f64;
        Self {
            window_s,
            requests: counted.len() as u64,
            ttft_p50_ms: quantile(&ttft, 0.5),
            ttft_p95_ms: quantile(&ttft, 0.95),
            tpot_p50_ms: quantile(&tpot, 0.5),
            tpot_p95_ms: quantile(&tpot, 0.95),
            e2e_p50_ms: quantile(&e2e, 0.5),
            e2e_p95_ms: quantile(&e2e, 0.95),
            itl_max_p95_ms: quantile(&itl, 0.95),
            goodput_rps: per_s(good as f64),
            finished_rps: per_s(complete.len() as f64),
            throughput_tok_s: per_s(tokens),
            error_rate: (!counted.is_empty()).then(|| bad / counted.len() as f64),
            requests_failed,
            streams_cut,
        }
    }
}

/// The `q`-quantile of `sorted` (ascending), linear between ranks; `None` when empty.
fn quantile(sorted: &[f64], q: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let rank = q * last as f64;
    let (low, high) = (rank.floor() as usize, rank.ceil() as usize);
    Some(sorted[low] + (sorted[high] - sorted[low]) * (rank - low as f64))
}
