//! How long a rollout will take, before it begins.

use serde::{Deserialize, Serialize};

use super::evidence::{ALPHA, LAMBDAS};
use super::options::fair_probability;
use crate::domain::{Guard, GuardRule, RolloutPlan};

/// The location score saturates at 2.4 standard deviations, at most at a factor of 3.3.
const SPAN_SD: f64 = 2.4;
const SPAN_LN_MAX: f64 = 1.2;

/// What a forecast is made from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanOptions {
    /// The plan.
    pub plan: RolloutPlan,
    /// New sessions per second.
    pub sessions_per_s: f64,
    /// Backends that serve users now.
    pub stable_backends: usize,
    /// Spread of the guarded latency between sessions: standard deviation of its ln; .5 is a p95 of 2.3 medians.
    pub latency_sd_ln: f64,
    /// Expected change of the guarded latency, −.2 is 20 % faster.
    pub change: f64,
}

/// Expected times of a rollout [s]; `None`: no decision within the plan's limits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forecast {
    /// Time at each share [s]; what cannot pass is given its longest time.
    pub step_s: Vec<f64>,
    /// First share → all users [s]; `None`: a person will be asked, or an alarm comes first.
    pub to_full_s: Option<f64>,
    /// First share → over, soak included [s].
    pub to_done_s: Option<f64>,
    /// First share → alarm, for a canary this much worse [s]; `None` when the change is within the tolerance.
    pub to_alarm_s: Option<f64>,
}

/// The expected times for `options`: ln(1/α) over the growth of ln E per session, at each share's rate.
///
/// Growth of one bet λ is E\[ln(1 + λ s)\] ≈ λ μ − λ² v / 2 with μ and v the mean and variance of s; the best stake
/// leads after ln 6 for the mixture, ln 2 for the tail bet and ln 2 for the first part of the capital.
pub fn plan(options: &PlanOptions) -> Forecast {
    let plan = &options.plan;
    let (mut step_s, mut at_s, mut reaches) = (Vec::new(), 0.0, true);
    let mut alarm = Progress::new(options, Claim::Harm, compared_shares(plan));
    for (step, percent) in plan.steps_percent.iter().enumerate() {
        let share = percent / 100.0;
        let canary_rate = (share * options.sessions_per_s).max(f64::MIN_POSITIVE);
        let mut needs_s =
            (plan.bake_time_ms as f64 / 1000.0).max(plan.sessions_min as f64 / canary_rate);
        if step + 2 == plan.steps_percent.len() {
            needs_s = needs_s.max(Progress::new(options, Claim::Promotion, 1).time_left_s(share));
        }
        let limit_s = plan.step_time_max_ms as f64 / 1000.0;
        reaches &= needs_s <= limit_s;
        let spent_s = needs_s.min(limit_s);
        alarm.spend(share, at_s, spent_s);
        at_s += spent_s;
        step_s.push(spent_s);
    }
    let last_s = step_s.last().copied().unwrap_or(0.0);
    let goes = reaches && alarm.at_s.is_none();
    Forecast {
        to_full_s: goes.then_some(at_s - last_s),
        to_done_s: goes.then_some(at_s + plan.soak_ms as f64 / 1000.0),
        to_alarm_s: alarm.at_s,
        step_s,
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Claim {
    Harm,
    Promotion,
}

/// How far one test has come.
struct Progress<'a> {
    options: &'a PlanOptions,
    claim: Claim,
    missing_ln: f64,
    at_s: Option<f64>,
}

impl<'a> Progress<'a> {
    fn new(options: &'a PlanOptions, claim: Claim, parts: usize) -> Self {
        let first_part = if parts > 1 { 2.0 } else { 1.0 };
        let mixture = f64::ln(2.0 * first_part * LAMBDAS.len() as f64);
        Self { options, claim, missing_ln: mixture - ALPHA.ln(), at_s: None }
    }

    /// Lets `spent_s` pass at `share`, from `from_s` on.
    fn spend(&mut self, share: f64, from_s: f64, spent_s: f64) {
        let left_s = self.time_left_s(share);
        if self.at_s.is_none() && left_s <= spent_s {
            self.at_s = Some(from_s + left_s);
        }
        if left_s.is_finite() {
            self.missing_ln *= 1.0 - spent_s / left_s.max(spent_s);
        }
    }

    /// Seconds until it speaks at `share`; infinite when it does not grow there.
    fn time_left_s(&self, share: f64) -> f64 {
        let flattered = share < fair_probability(self.options.stable_backends);
        if share >= 1.0 || (self.claim == Claim::Promotion && flattered) {
            return f64::INFINITY;
        }
        let guards = self.options.plan.guards.iter();
        let growths = guards.filter_map(|guard| self.growth(guard, share));
        let growth = match self.claim {
            // The first guard to speak rolls back; every guard has to be proven.
            Claim::Harm => growths.fold(0.0, f64::max),
            Claim::Promotion => growths.fold(f64::INFINITY, f64::min),
        };
        if growth.is_infinite() {
            0.0
        } else {
            self.missing_ln / growth / self.options.sessions_per_s
        }
    }

    /// ln E per session of one guard's test; `None` for a guard that compares nothing.
    fn growth(&self, guard: &Guard, share: f64) -> Option<f64> {
        let GuardRule::NotWorse { tolerance, margin } = guard.rule else { return None };
        let (factor, sign) = match self.claim {
            Claim::Harm => (1.0 + tolerance, 1.0),
            Claim::Promotion => (1.0 + margin, -1.0),
        };
        let span_ln = (SPAN_SD * self.options.latency_sd_ln).min(SPAN_LN_MAX);
        let sd = self.options.latency_sd_ln / span_ln;
        let shift = sign * ((1.0 + self.options.change) / factor).ln() / span_ln;
        let coin = share * (1.0 - share);
        let shift = shift.clamp(-1.0, 1.0);
        let (mean, square) =
            (coin * shift, coin * (sd * sd + shift * shift * (1.0 - share)).min(1.0));
        let best = LAMBDAS.iter().map(|stake| stake * mean - stake * stake * square / 2.0);
        Some(best.fold(0.0, f64::max))
    }
}

fn compared_shares(plan: &RolloutPlan) -> usize {
    plan.steps_percent.iter().filter(|percent| **percent < 100.0).count()
}
