//! The simulator as a function: a config and a trace → latencies and throughput.

use super::{Completion, Observer, Refusal, Replica, ReplicaSpec, Request, Step};

/// What counts and when to stop.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SimOptions {
    /// Requests that arrive before this are served and not counted [s].
    pub warmup_s: f64,
    /// Gives up this long after the last arrival [s]: an overloaded config need not be served to the end.
    pub drain_s: f64,
}

impl Default for SimOptions {
    fn default() -> Self {
        Self { warmup_s: 10.0, drain_s: 120.0 }
    }
}

/// What a trace saw.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SimReport {
    /// Counted requests that finished, in order of finishing.
    pub completions: Vec<Completion>,
    /// Counted requests that arrived.
    pub arrived: u64,
    /// Of these, refused at the door.
    pub refused: u64,
    /// Evictions.
    pub preemptions: u64,
    /// Largest share of KV blocks in use, 0–1.
    pub kv_utilization_max: f64,
    /// Requests in a batch, mean over steps weighted by time.
    pub running_mean: f64,
    /// Counted time [s].
    pub duration_s: f64,
    /// Requests that had not finished when it gave up.
    pub unfinished: u64,
}

impl SimReport {
    /// The `q`-quantile of TTFT [ms].
    pub fn ttft_ms(&self, q: f64) -> Option<f64> {
        quantile(self.completions.iter().map(|c| (c.first_token_s - c.arrival_s) * 1000.0), q)
    }

    /// The `q`-quantile of TPOT [ms], over requests with two tokens or more.
    pub fn tpot_ms(&self, q: f64) -> Option<f64> {
        let several = self.completions.iter().filter(|c| c.output_tokens > 1);
        let tpot = |c: &Completion| {
            (c.finished_s - c.first_token_s) * 1000.0 / f64::from(c.output_tokens - 1)
        };
        quantile(several.map(tpot), q)
    }

    /// The `q`-quantile of E2E latency [ms].
    pub fn e2e_ms(&self, q: f64) -> Option<f64> {
        quantile(self.completions.iter().map(|c| (c.finished_s - c.arrival_s) * 1000.0), q)
    }

    /// The `q`-quantile of each request's largest gap between tokens [ms].
    pub fn itl_max_ms(&self, q: f64) -> Option<f64> {
        quantile(self.completions.iter().map(|c| c.itl_max_s * 1000.0), q)
    }

    /// Counted requests finished per second.
    pub fn finished_rps(&self) -> f64 {
        self.completions.len() as f64 / self.duration_s.max(f64::MIN_POSITIVE)
    }

    /// Tokens generated per second by counted requests.
    pub fn throughput_tok_s(&self) -> f64 {
        let tokens: f64 = self.completions.iter().map(|c| f64::from(c.output_tokens)).sum();
        tokens / self.duration_s.max(f64::MIN_POSITIVE)
    }

    /// Requests per second that finished and that `good` accepts.
    pub fn goodput_rps(&self, good: impl Fn(&Completion) -> bool) -> f64 {
        let count = self.completions.iter().filter(|c| good(c)).count();
        count as f64 / self.duration_s.max(f64::MIN_POSITIVE)
    }

    /// Whether the queue grew to the end: TTFT of the last quarter of arrivals is far above that of the first, or requests were left over.
    pub fn overloaded(&self) -> bool {
        if self.unfinished as f64 > 0.02 * self.arrived as f64 {
            return true;
        }
        let mut by_arrival: Vec<_> =
            self.completions.iter().map(|c| (c.arrival_s, c.first_token_s - c.arrival_s)).collect();
        by_arrival.sort_by(|a, b| a.0.total_cmp(&b.0));
        let quarter = by_arrival.len() / 4;
        if quarter < 10 {
            return false;
        }
        let mean = |part: &[(f64, f64)]| part.iter().map(|p| p.1).sum::<f64>() / part.len() as f64;
        let (first, last) = (mean(&by_arrival[..quarter]), mean(&by_arrival[3 * quarter..]));
        last > 2.0 * first + 1.0
    }
}

/// Serves `trace` (in order of arrival, from time 0) on `replicas` equal replicas, each request on the least loaded.
///
/// Errors: what [`Replica::new`] refuses.
pub fn simulate(
    spec: &ReplicaSpec,
    replicas: u32,
    trace: &[Request],
    options: &SimOptions,
) -> Result<SimReport, Refusal> {
    let mut fleet = vec![Replica::new(spec.clone())?; replicas.max(1) as usize];
    let mut tally = Tally { warmup_s: options.warmup_s, ..Tally::default() };
    for request in trace {
        for replica in &mut fleet {
            replica.advance_to(request.arrival_s, &mut tally);
        }
        let load = |replica: &Replica| replica.running() + replica.waiting();
        if let Some(replica) = fleet.iter_mut().min_by_key(|replica| load(replica)) {
            tally.note_kv(replica);
            replica.submit(request.clone());
        }
        if request.arrival_s >= options.warmup_s {
            tally.report.arrived += 1;
        }
    }
    let last_s = trace.last().map_or(0.0, |request| request.arrival_s);
    for replica in &mut fleet {
        replica.advance_to(last_s + options.drain_s, &mut tally);
        tally.report.preemptions += replica.totals().preemptions;
    }
    Ok(tally.into_report(last_s))
}

#[derive(Default)]
struct Tally {
    warmup_s: f64,
    report: SimReport,
    running_seconds: f64,
    stepped_s: f64,
}

impl Tally {
    fn note_kv(&mut self, replica: &Replica) {
        let total = replica.kv_total_blocks().max(1) as f64;
        let share = replica.kv_used_blocks() as f64 / total;
        self.report.kv_utilization_max = self.report.kv_utilization_max.max(share);
    }

    fn into_report(self, last_s: f64) -> SimReport {
        let mut report = self.report;
        report.duration_s = (last_s - self.warmup_s).max(0.0);
        report.unfinished =
            report.arrived.saturating_sub(report.completions.len() as u64 + report.refused);
        report.running_mean = self.running_seconds / self.stepped_s.max(f64::MIN_POSITIVE);
        report
    }
}

impl Observer for Tally {
    fn step(&mut self, step: &Step) {
        self.running_seconds += f64::from(step.batch) * step.duration_s;
        self.stepped_s += step.duration_s;
    }

    fn completion(&mut self, completion: &Completion) {
        if completion.arrival_s >= self.warmup_s {
            self.report.completions.push(completion.clone());
        }
    }

    fn refused(&mut self, request: &Request, _at_s: f64) {
        if request.arrival_s >= self.warmup_s {
            self.report.refused += 1;
        }
    }
}

fn quantile(values: impl Iterator<Item = f64>, q: f64) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    let last = values.len().checked_sub(1)?;
    let rank = q * last as f64;
    let (low, high) = (rank.floor() as usize, rank.ceil() as usize);
    let (_, at_low, _) = values.select_nth_unstable_by(low, f64::total_cmp);
    let at_low = *at_low;
    if high == low {
        return Some(at_low);
    }
    let at_high = values[high..].iter().copied().fold(f64::INFINITY, f64::min);
    Some(at_low + (at_high - at_low) * (rank - low as f64))
}
