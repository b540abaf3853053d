//! The simulator as a function: a config and a trace → latencies and throughput.

use super::usage::Usage;
use super::{Completion, Observer, Refusal, Replica, ReplicaSpec, Request, SimReport};

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
    let last_s = trace.last().map_or(0.0, |request| request.arrival_s);
    let mut tally = Tally { warmup_s: options.warmup_s, last_s, ..Tally::default() };
    let mut at_warmup = vec![Usage::default(); fleet.len()];
    let mut queue = Trend::default();
    for request in trace {
        let counted = request.arrival_s >= options.warmup_s;
        if counted && tally.report.arrived == 0 {
            for (replica, usage) in fleet.iter_mut().zip(&mut at_warmup) {
                replica.advance_to(options.warmup_s, &mut tally);
                *usage = replica.usage();
            }
        }
        for replica in &mut fleet {
            replica.advance_to(request.arrival_s, &mut tally);
        }
        if counted {
            tally.report.arrived += 1;
            let waiting: u32 = fleet.iter().map(Replica::waiting).sum();
            queue.add(request.arrival_s - options.warmup_s, f64::from(waiting));
        }
        if let Some(replica) = fleet.iter_mut().min_by_key(|replica| replica.load()) {
            replica.submit(request.clone());
        }
    }
    // Gauges cover the time in which requests came; what is left is only served.
    let at_end: Vec<Usage> = fleet.iter().map(Replica::usage).collect();
    for replica in &mut fleet {
        replica.advance_to(last_s + options.drain_s, &mut tally);
    }
    let mut report = tally.into_report();
    report.waiting_growth_rps = queue.slope();
    count_totals(&mut report, &fleet);
    average(&mut report, &at_warmup, &at_end);
    Ok(report)
}

fn count_totals(report: &mut SimReport, fleet: &[Replica]) {
    let sum = |count: fn(&Replica) -> u64| fleet.iter().map(count).sum::<u64>();
    report.preemptions = sum(Replica::preemptions_total);
    let asked = sum(Replica::prefix_queries_tokens);
    let found = sum(Replica::prefix_hits_tokens);
    report.prefix_hit_ratio = (asked > 0).then(|| found as f64 / asked as f64);
}

fn average(report: &mut SimReport, from: &[Usage], to: &[Usage]) {
    let spent = |field: fn(&Usage) -> f64| -> f64 {
        from.iter().zip(to).map(|(from, to)| field(to) - field(from)).sum()
    };
    let busy_s = spent(|usage| usage.busy_s).max(f64::MIN_POSITIVE);
    report.running_mean = spent(|usage| usage.running_s) / busy_s;
    report.waiting_mean = spent(|usage| usage.waiting_s) / busy_s;
    report.kv_utilization_mean = spent(|usage| usage.kv_s) / busy_s;
    report.kv_utilization_max = to.iter().map(|usage| usage.kv_max).fold(0.0, f64::max);
}

#[derive(Default)]
struct Tally {
    warmup_s: f64,
    last_s: f64,
    report: SimReport,
}

impl Tally {
    fn into_report(self) -> SimReport {
        let mut report = self.report;
        report.duration_s = (self.last_s - self.warmup_s).max(0.0);
        report.unfinished =
            report.arrived.saturating_sub(report.completions.len() as u64 + report.refused);
        report
    }
}

impl Observer for Tally {
    fn every_step(&self) -> bool {
        false
    }

    fn completion(&mut self, completion: &Completion) {
        if (self.warmup_s..=self.last_s).contains(&completion.finished_s) {
            self.report.finished += 1;
            self.report.finished_tokens += u64::from(completion.output_tokens);
        }
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

/// A straight line through points, by least squares.
#[derive(Debug, Default)]
struct Trend {
    count: f64,
    x: f64,
    y: f64,
    xx: f64,
    xy: f64,
}

impl Trend {
    fn add(&mut self, x: f64, y: f64) {
        self.count += 1.0;
        self.x += x;
        self.y += y;
        self.xx += x * x;
        self.xy += x * y;
    }

    fn slope(&self) -> f64 {
        let spread = self.count * self.xx - self.x * self.x;
        if spread > 0.0 { (self.count * self.xy - self.x * self.y) / spread } else { 0.0 }
    }
}
