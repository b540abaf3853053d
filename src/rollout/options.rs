//! The default plan, and which plans can work.

use super::Error;
use crate::domain::{Guard, GuardRule, Metric, RolloutPlan};

const MINUTE_MS: u64 = 60_000;

/// 5 → 25 → 50 → 100 %, each for at least two minutes and 30 canary sessions.
///
/// 30 sessions: a canary that fails 10 % of its requests is caught within them in nine of ten rollouts, and at
/// one session per second 5 % gather them in ten minutes.
pub fn default_plan(guards: Vec<Guard>) -> RolloutPlan {
    RolloutPlan {
        steps_percent: vec![5.0, 25.0, 50.0, 100.0],
        bake_time_ms: 2 * MINUTE_MS,
        step_time_max_ms: 30 * MINUTE_MS,
        sessions_min: 30,
        soak_ms: 5 * MINUTE_MS,
        drain_max_ms: 10 * MINUTE_MS,
        metrics_lost_ms: MINUTE_MS / 2,
        guards,
    }
}

/// Whether a plan moves everyone at once: nothing is compared, so bounds on everyone, the bake and a warm old version judge.
///
/// For hosts on which two loaded versions ruin each other: there a share compares the neighbourhood and not the configs.
pub fn is_blue_green(plan: &RolloutPlan) -> bool {
    plan.steps_percent == [100.0]
}

/// Share of sessions at which one canary carries 9/10 of the load of each of `stable_backends`, 0–1.
///
/// Below it the canary is flattered by its light load, and what it shows there is no proof for promotion.
pub(super) fn fair_probability(stable_backends: usize) -> f64 {
    0.9 / (stable_backends + 1) as f64
}

/// Whether a plan can lead to a proven promotion of one canary beside `stable_backends`, or is [`is_blue_green`].
///
/// Errors: [`Error::NoStableBackend`]; [`Error::InvalidPlan`] with the first contradiction;
/// [`Error::UnsupportedGuard`] for a metric that a single session does not have.
pub fn validate(plan: &RolloutPlan, stable_backends: usize) -> Result<(), Error> {
    if stable_backends == 0 {
        return Err(Error::NoStableBackend);
    }
    if !is_blue_green(plan) {
        validate_steps(&plan.steps_percent, fair_probability(stable_backends))?;
    }
    if plan.sessions_min == 0 {
        return invalid("sessions_min is 0, a pass would need no evidence", "set it to 30 or more");
    }
    if plan.step_time_max_ms <= plan.bake_time_ms {
        return invalid(
            "step_time_max_ms is not above bake_time_ms, no step could pass",
            "give a step at least twice its bake time",
        );
    }
    if plan.metrics_lost_ms == 0 {
        return invalid("metrics_lost_ms is 0, every sample is late then", "set it to 30000");
    }
    if plan.guards.is_empty() {
        return invalid(
            "no metric is guarded, a slower canary would pass",
            "guard TTFT and TPOT, with a tolerance of .10 and a margin of .15",
        );
    }
    plan.guards.iter().try_for_each(validate_guard)
}

fn validate_steps(steps: &[f64], fair: f64) -> Result<(), Error> {
    let [compared @ .., last] = steps else {
        return invalid("steps_percent is empty", "use [5, 25, 50, 100]");
    };
    let ascending = steps.windows(2).all(|pair| pair[0] < pair[1]);
    if *last != 100.0 || !ascending || steps.iter().any(|percent| !(*percent > 0.0)) {
        return invalid(
            &format!("steps_percent is {steps:?}, expected shares above 0 that grow to 100"),
            "use [5, 25, 50, 100]",
        );
    }
    if compared.last().is_none_or(|percent| percent / 100.0 < fair) {
        return invalid(
            &format!(
                "no share below 100 % reaches {:.0} %, where the canary carries as much load as a stable backend",
                100.0 * fair
            ),
            "add such a share: promotion is proven there; or move everyone at once with [100]",
        );
    }
    Ok(())
}

fn validate_guard(guard: &Guard) -> Result<(), Error> {
    if !matches!(guard.metric, Metric::Ttft | Metric::Tpot | Metric::Itl | Metric::E2e) {
        return Err(Error::UnsupportedGuard { metric: guard.metric.to_string() });
    }
    let sound = match guard.rule {
        GuardRule::NotWorse { tolerance, margin } => {
            tolerance >= 0.0 && margin >= tolerance && margin > 0.0 && margin < 1.0
        }
        GuardRule::Within { limit_ms, miss_ratio_max } => {
            limit_ms > 0.0 && limit_ms.is_finite() && miss_ratio_max > 0.0 && miss_ratio_max < 0.5
        }
    };
    if sound {
        return Ok(());
    }
    invalid(
        &format!("the guard on {} is {:?}", guard.metric, guard.rule),
        "not_worse needs 0 ≤ tolerance ≤ margin < 1 and margin > 0; within needs limit_ms > 0 and 0 < miss_ratio_max < .5",
    )
}

fn invalid(reason: &str, hint: &str) -> Result<(), Error> {
    Err(Error::InvalidPlan { reason: reason.to_owned(), hint: hint.to_owned() })
}
