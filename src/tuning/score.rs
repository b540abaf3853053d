//! How good a predicted config is: one number, lower is better, and whether the judge would take it.

use super::forecast::Forecast;
use super::judge::judge;
use super::moves::risk_of_change;
use super::statistic::{headline, improvement, limit};
use crate::domain::{Limits, Metric, Objective, ServingConfig, TrialOutcome};

/// Predictions err; a shortlisted config should meet its targets with this to spare.
pub const MARGIN: f64 = 0.15;

/// Weighs forecasts against the incumbent's.
#[derive(Debug)]
pub struct Scale<'a> {
    /// The goal.
    pub objective: &'a Objective,
    /// Standing limits.
    pub limits: &'a Limits,
    /// The running config.
    pub running: &'a ServingConfig,
    /// Its forecast on the same requests.
    pub incumbent: &'a Forecast,
}

/// A forecast with its worth.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Worth {
    /// Lower is better.
    pub score: f64,
    /// The judge would accept these numbers if they were measured.
    pub acceptable: bool,
    /// Every target is met with [`MARGIN`] to spare, and the queue does not grow.
    pub safe: bool,
    /// Risk of the change.
    pub risk: u32,
}

impl Scale<'_> {
    /// Worth of `forecast` for `config`.
    ///
    /// Missed bounds weigh most, by how far they are missed; then whether the judge would reject; then what the objective
    /// wants better; then the risk of the change, so that of two equals the smaller change wins.
    pub fn worth(&self, config: &ServingConfig, forecast: &Forecast) -> Worth {
        let verdict = judge(self.objective, self.limits, &self.incumbent.stats, &forecast.stats);
        let acceptable = verdict.outcome == TrialOutcome::Accepted;
        let risk = risk_of_change(self.running, config);
        let missed: f64 = self.excesses(forecast).map(|excess| excess.max(1.0).ln()).sum();
        let rejected = if acceptable { 0.0 } else { 0.5 };
        let growing = if forecast.growing { 0.5 } else { 0.0 };
        let score =
            3.0 * missed + rejected + growing - self.benefit(forecast) + 0.004 * f64::from(risk);
        let score = if score.is_finite() { score } else { f64::MAX };
        Worth { score, acceptable, safe: forecast.meets(MARGIN), risk }
    }

    /// Each bound's statistic ÷ bound, margin included.
    fn excesses<'f>(&'f self, forecast: &'f Forecast) -> impl Iterator<Item = f64> + 'f {
        let limits = [Metric::Ttft, Metric::Tpot, Metric::E2e].into_iter().filter_map(|metric| {
            Some(headline(metric, &forecast.stats)? / limit(metric, self.limits)?)
        });
        forecast.pressures.iter().copied().chain(limits).map(|pressure| {
            // An unknown latency meets no bound.
            if pressure.is_finite() { pressure * (1.0 + MARGIN) } else { 100.0 }
        })
    }

    /// What is better than the incumbent: the metric to improve, else the targets' metrics, else E2E; goodput always counts.
    fn benefit(&self, forecast: &Forecast) -> f64 {
        let gain = |metric| {
            let before = headline(metric, &self.incumbent.stats)?;
            improvement(metric, before, headline(metric, &forecast.stats)?)
        };
        let mut metrics: Vec<Metric> = self.objective.improve.into_iter().collect();
        if metrics.is_empty() {
            metrics.extend(self.objective.targets.iter().map(|target| target.metric));
        }
        if metrics.is_empty() {
            metrics.push(Metric::E2e);
        }
        let mean = metrics.iter().filter_map(|metric| gain(*metric)).sum::<f64>()
            / metrics.len().max(1) as f64;
        let goodput = gain(Metric::Goodput).unwrap_or(0.0).clamp(-1.0, 1.0);
        // Once bounds are met with margin, more of the same is worth little against a smaller change.
        let weight = if self.objective.improve.is_some() { 0.5 } else { 0.15 };
        weight * mean.clamp(-2.0, 2.0) + 0.3 * goodput
    }
}
