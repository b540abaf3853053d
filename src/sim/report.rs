//! What a trace saw of a config.

use super::Completion;
use crate::base::Millis;
use crate::domain::{Arm, Finish, Objective, RequestRecord};

/// What a trace saw. Counted are the requests that arrived after the warm-up.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SimReport {
    /// Counted requests that finished, in order of finishing.
    pub completions: Vec<Completion>,
    /// Counted requests that arrived.
    pub arrived: u64,
    /// Of these, refused at the door.
    pub refused: u64,
    /// Requests that had not finished when it gave up.
    pub unfinished: u64,
    /// Evictions, warm-up included.
    pub preemptions: u64,
    /// Prompt tokens found in the prefix cache ÷ looked up, warm-up included; `None` when the cache is off.
    pub prefix_hit_ratio: Option<f64>,
    /// Share of KV blocks held, mean over the replicas' busy time, 0–1.
    pub kv_utilization_mean: f64,
    /// Largest share of KV blocks held, 0–1.
    pub kv_utilization_max: f64,
    /// Requests in the batch of one replica, mean over its busy time.
    pub running_mean: f64,
    /// Requests in the queue of one replica, mean over its busy time.
    pub waiting_mean: f64,
    /// Growth of all queues together while requests came [requests/s], least squares; about 0 when they are stable.
    pub waiting_growth_rps: f64,
    /// From the end of the warm-up to the last arrival [s].
    pub duration_s: f64,
    /// Requests that finished in that time, whenever they arrived.
    pub(super) finished: u64,
    /// Tokens of those requests.
    pub(super) finished_tokens: u64,
}

impl SimReport {
    /// The `q`-quantile of TTFT [ms].
    pub fn ttft_ms(&self, q: f64) -> Option<f64> {
        quantile(self.completions.iter().map(Completion::ttft_ms), q)
    }

    /// The `q`-quantile of TPOT [ms], over requests with two tokens or more.
    pub fn tpot_ms(&self, q: f64) -> Option<f64> {
        quantile(self.completions.iter().filter_map(Completion::tpot_ms), q)
    }

    /// The `q`-quantile of E2E latency [ms].
    pub fn e2e_ms(&self, q: f64) -> Option<f64> {
        quantile(self.completions.iter().map(Completion::e2e_ms), q)
    }

    /// The `q`-quantile of each request's largest gap between tokens [ms], over requests with two tokens or more.
    pub fn itl_max_ms(&self, q: f64) -> Option<f64> {
        quantile(self.completions.iter().filter_map(Completion::itl_max_ms), q)
    }

    /// Requests finished per second of counted time.
    pub fn finished_rps(&self) -> f64 {
        self.finished as f64 / self.duration_s.max(f64::MIN_POSITIVE)
    }

    /// Tokens generated per second of counted time, by the requests that finished in it.
    pub fn throughput_tok_s(&self) -> f64 {
        self.finished_tokens as f64 / self.duration_s.max(f64::MIN_POSITIVE)
    }

    /// Counted requests per second that finished and that `good` accepts.
    pub fn goodput_rps(&self, good: impl Fn(&Completion) -> bool) -> f64 {
        let count = self.completions.iter().filter(|c| good(c)).count();
        count as f64 / self.duration_s.max(f64::MIN_POSITIVE)
    }

    /// Counted requests per second that met every per-request bound of `objective`.
    pub fn goodput(&self, objective: &Objective) -> f64 {
        self.goodput_rps(|completion| objective.met_by(&completion.record()))
    }

    /// Whether the load was more than it can take: requests were left over, or its queues grew by a twentieth of what
    /// arrived, and by more than chance moves a short queue.
    pub fn overloaded(&self) -> bool {
        let arrival_rps = self.arrived as f64 / self.duration_s.max(f64::MIN_POSITIVE);
        let grown = self.waiting_growth_rps * self.duration_s;
        let grows =
            self.waiting_growth_rps > 0.05 * arrival_rps && grows_past_chance(grown, self.arrived);
        self.unfinished as f64 > 0.02 * self.arrived as f64 || grows
    }
}

/// A stable queue wanders by about the square root of the arrivals.
fn grows_past_chance(grown: f64, arrived: u64) -> bool {
    grown > 5.0 + (arrived as f64).sqrt()
}

impl Completion {
    /// Time to first token [ms].
    pub fn ttft_ms(&self) -> f64 {
        (self.first_token_s - self.arrival_s) * 1e3
    }

    /// Mean time per output token [ms]; `None` below two tokens.
    pub fn tpot_ms(&self) -> Option<f64> {
        let gaps = self.output_tokens.saturating_sub(1);
        (gaps > 0).then(|| (self.finished_s - self.first_token_s) * 1e3 / f64::from(gaps))
    }

    /// Request sent → last token [ms].
    pub fn e2e_ms(&self) -> f64 {
        (self.finished_s - self.arrival_s) * 1e3
    }

    /// Largest gap between two tokens [ms]; `None` below two tokens.
    pub fn itl_max_ms(&self) -> Option<f64> {
        (self.output_tokens > 1).then_some(self.itl_max_s * 1e3)
    }

    /// The same as a data plane would have recorded it.
    pub fn record(&self) -> RequestRecord {
        let moment = |s: f64| Millis((s * 1e3) as u64);
        RequestRecord {
            arm: Arm::Stable,
            canary_probability: 0.0,
            session: String::new(),
            first_turn: true,
            randomized: false,
            started: moment(self.arrival_s),
            finished: moment(self.finished_s),
            ttft_ms: Some(self.ttft_ms()),
            tpot_ms: self.tpot_ms(),
            itl_max_ms: self.itl_max_ms(),
            e2e_ms: Some(self.e2e_ms()),
            input_tokens: Some(self.input_tokens),
            output_tokens: self.output_tokens,
            status: 200,
            finish: Finish::Complete,
        }
    }
}

/// The `q`-quantile, linear between ranks; `None` when there are no values.
fn quantile(values: impl Iterator<Item = f64>, q: f64) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    let last = values.len().checked_sub(1)?;
    let rank = q.clamp(0.0, 1.0) * last as f64;
    let (low, high) = (rank.floor() as usize, rank.ceil() as usize);
    let (_, at_low, above) = values.select_nth_unstable_by(low, f64::total_cmp);
    let at_low = *at_low;
    if high == low {
        return Some(at_low);
    }
    let at_high = above.iter().copied().fold(f64::INFINITY, f64::min);
    Some(at_low + (at_high - at_low) * (rank - low as f64))
}
