//! Everything before the first user is exposed: lock, preflight, launch, warm-up.

use super::options::fair_probability;
use super::{Evidence, Frozen, Health, Inputs, Lock, Record};
use crate::base::Millis;
use crate::domain::{RequestStats, RolloutState};

/// Below this many requests a p95 is no threshold.
const BASELINE_REQUESTS_MIN: u64 = 20;

impl Record {
    /// The states in which no user can be hurt.
    pub(super) fn prepare(&mut self, inputs: &Inputs, now: Millis) {
        match &self.state {
            RolloutState::Planned if inputs.lock == Some(Lock::Granted) => {
                self.enter(RolloutState::Locked, "the deployment's lock is held", now);
            }
            RolloutState::Locked => {
                self.enter(RolloutState::Preflight, "checks before anything is started", now);
            }
            RolloutState::Preflight => self.preflight(inputs, now),
            RolloutState::Provisioning => match &inputs.provisioned {
                Some(Ok(backend)) => {
                    self.canary = Some(backend.clone());
                    self.enter(RolloutState::Warming, format!("{} is up", backend.id), now);
                }
                Some(Err(why)) => {
                    self.roll_back(
                        format!("the new version did not start: {why}"),
                        true,
                        inputs,
                        now,
                    );
                }
                None => {}
            },
            RolloutState::Warming => match &inputs.warmed {
                Some(Ok(())) => self.begin_shift(0, "the new version is warm", inputs, now),
                Some(Err(why)) => {
                    self.roll_back(format!("warming failed: {why}"), true, inputs, now);
                }
                None => {}
            },
            _ => {}
        }
    }

    fn preflight(&mut self, inputs: &Inputs, now: Millis) {
        match ready(inputs) {
            Ok(baseline) => {
                let frozen = Frozen::of(baseline, now);
                let fair = fair_probability(self.stable.len());
                self.evidence = Some(Evidence::new(&self.plan, &frozen, fair));
                self.frozen = Some(frozen);
                let why = format!("thresholds frozen from {} requests", baseline.requests);
                let next = match self.canary {
                    Some(_) => RolloutState::Warming,
                    None => RolloutState::Provisioning,
                };
                self.enter(next, why, now);
            }
            Err(missing) if self.judged_ms > self.plan.step_time_max_ms => {
                self.roll_back(format!("preflight: {missing}"), false, inputs, now);
            }
            Err(_) => {}
        }
    }
}

/// The baseline to freeze thresholds from, or what is missing.
fn ready(inputs: &Inputs) -> Result<&RequestStats, String> {
    match &inputs.stable_health {
        Some(Health::Healthy) => {}
        Some(Health::Failing { reason } | Health::Down { reason }) => {
            return Err(format!("stable is not healthy: {reason}"));
        }
        None => return Err("stable's health is unknown".to_owned()),
    }
    let baseline = inputs.baseline.as_ref().ok_or("stable was not measured".to_owned())?;
    if baseline.requests < BASELINE_REQUESTS_MIN {
        let seen = baseline.requests;
        return Err(format!("{seen} requests on stable, {BASELINE_REQUESTS_MIN} make a threshold"));
    }
    Ok(baseline)
}
