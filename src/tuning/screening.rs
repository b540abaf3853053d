//! Successive halving in the simulator: many configs on few requests, few configs on many.

use super::error::Error;
use super::forecast::Forecast;
use super::score::{Scale, Worth};
use super::twin::Twin;
use crate::domain::{Limits, Objective, ServingConfig};
use crate::sim::Request;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One round: how many configs saw how many requests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Round {
    /// Requests each config was shown.
    pub requests: usize,
    /// Configs simulated.
    pub configs: usize,
    /// Configs that went on.
    pub kept: usize,
}

/// A config with what the last round it reached said of it.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The config.
    pub config: ServingConfig,
    /// Its forecast.
    pub forecast: Forecast,
    /// Its worth against the incumbent on the same requests.
    pub worth: Worth,
}

/// Shows configs to the twin.
pub struct Screen<'a> {
    /// The twin.
    pub twin: &'a Twin,
    /// The goal.
    pub objective: &'a Objective,
    /// Standing limits.
    pub limits: &'a Limits,
    /// Whether nobody waits for the answer any more: asked before each config.
    pub stop: &'a (dyn Fn() -> bool + Sync),
}

impl Screen<'_> {
    /// Simulates `configs` on the first `requests` requests, best first. A config that is refused drops out.
    ///
    /// Errors: [`Error::Illegal`] when the running config is refused, [`Error::Stopped`].
    pub fn round(
        &self,
        configs: Vec<ServingConfig>,
        requests: usize,
    ) -> Result<(Forecast, Vec<Candidate>), Error> {
        let trace = self.twin.trace(requests);
        let incumbent = self.twin.forecast(&self.twin.running, &trace)?;
        let scale = Scale {
            objective: self.objective,
            limits: self.limits,
            running: &self.twin.running,
            incumbent: &incumbent,
        };
        let mut candidates = self.simulate(configs, &trace, &scale);
        if (self.stop)() {
            return Err(Error::Stopped);
        }
        // Stable: equals keep their order, which is fewest changes first.
        candidates.sort_by(|a, b| a.worth.score.total_cmp(&b.worth.score));
        Ok((incumbent, candidates))
    }

    /// Simulates over all cores; the order of results is that of `configs`, whatever finishes first.
    fn simulate(
        &self,
        configs: Vec<ServingConfig>,
        trace: &[Request],
        scale: &Scale<'_>,
    ) -> Vec<Candidate> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let share = configs.len().div_ceil(cores).max(1);
        let simulate = |config: &ServingConfig| {
            let forecast = self.twin.forecast(config, trace).ok()?;
            let worth = scale.worth(config, &forecast);
            Some(Candidate { config: config.clone(), forecast, worth })
        };
        std::thread::scope(|scope| {
            let workers: Vec<_> = configs
                .chunks(share)
                .map(|part| {
                    let wanted = move || part.iter().take_while(|_| !(self.stop)());
                    scope.spawn(move || wanted().filter_map(simulate).collect::<Vec<_>>())
                })
                .collect();
            workers.into_iter().flat_map(|worker| worker.join().unwrap_or_default()).collect()
        })
    }
}
