//! How much a server can take within its objective: a ladder of rates, climbed until a rung breaks.

use std::sync::Arc;

use super::report::{LoadReport, meets};
use super::{Error, LoadOptions, run};
use crate::base::{Clock, stable_hash};
use crate::domain::Objective;

/// The rates to try and what must hold at each.
#[derive(Debug, Clone, PartialEq)]
pub struct Ladder {
    /// Ascending [req/s].
    pub rates_rps: Vec<f64>,
    /// What must be met.
    pub objective: Objective,
    /// Largest share of failed and cut requests, 0–1.
    pub error_rate_max: f64,
}

/// One rate and what it showed.
#[derive(Debug, Clone, PartialEq)]
pub struct Rung {
    /// Wanted rate [req/s].
    pub rate_rps: f64,
    /// The objective was met.
    pub passed: bool,
    /// All that was measured.
    pub report: LoadReport,
}

/// Between which rates the objective is lost. A single goodput near the knee says little; two rungs around it do.
#[derive(Debug, Clone, PartialEq)]
pub struct Capacity {
    /// Highest rate that passed, with every rate below it [req/s].
    pub passes_rps: Option<f64>,
    /// Lowest rate that failed [req/s]; `None`: the ladder is too short.
    pub fails_rps: Option<f64>,
    /// Every rung that was tried.
    pub rungs: Vec<Rung>,
}

/// Climbs `ladder` with the load of `options`. Each rung has prompts of its own, so that no cache helps a later one.
///
/// Errors: [`Error`] of the load.
pub async fn capacity(
    options: &LoadOptions,
    ladder: &Ladder,
    clock: Arc<dyn Clock>,
) -> Result<Capacity, Error> {
    let mut capacity = Capacity { passes_rps: None, fails_rps: None, rungs: Vec::new() };
    for &rate_rps in &ladder.rates_rps {
        let mut load = options.clone();
        load.profile.request_rate_rps = rate_rps;
        load.objective = Some(ladder.objective.clone());
        load.seed = rung_seed(options.seed, rate_rps);
        let report = run(&load, Arc::clone(&clock)).await?;
        let fine = report.stats.error_rate.is_some_and(|rate| rate <= ladder.error_rate_max);
        let passed = fine && meets(&report.records, &ladder.objective);
        capacity.rungs.push(Rung { rate_rps, passed, report });
        if !passed {
            capacity.fails_rps = Some(rate_rps);
            break;
        }
        capacity.passes_rps = Some(rate_rps);
    }
    Ok(capacity)
}

fn rung_seed(seed: u64, rate_rps: f64) -> u64 {
    let digits = stable_hash(&["rung", &seed.to_string(), &rate_rps.to_string()]);
    u64::from_str_radix(&digits[..16], 16).unwrap_or(seed)
}
