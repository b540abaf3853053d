//! What may never wait: alarms, dead servers, foreign hands, lost sight.

use super::table::InForce;
use super::{Health, Hold, HoldKind, Inputs, Record};
use crate::base::Millis;
use crate::domain::RolloutState;

/// Failed health checks in a row that are as good as a crash.
const FAILURES_MAX: u32 = 3;
/// Samples missing for this multiple of `metrics_lost_ms` end the rollout.
const LOST_FACTOR: u64 = 5;

impl Record {
    /// Rolls back, asks or holds when something is wrong. Only once users may be exposed, and not while they are being returned.
    pub(super) fn guard_users(&mut self, inputs: &Inputs, now: Millis) {
        let returning = matches!(self.state, RolloutState::RollingBack { .. });
        if !self.exposed || returning || self.is_over() || self.foreign {
            return;
        }
        if let Some(reason) = self.canary_is_down(inputs) {
            return self.roll_back(reason, true, inputs, now);
        }
        if self.judge_alarms(inputs, now) || self.judge_table(inputs, now) {
            return;
        }
        self.judge_sight(inputs, now);
    }

    fn canary_is_down(&self, inputs: &Inputs) -> Option<String> {
        match &inputs.canary_health {
            Some(Health::Down { reason }) => Some(format!("the canary is down: {reason}")),
            Some(Health::Failing { reason }) if self.canary_failures >= FAILURES_MAX => {
                Some(format!("{} health checks in a row failed: {reason}", self.canary_failures))
            }
            _ => None,
        }
    }

    /// Whether an alarm was acted upon.
    fn judge_alarms(&mut self, inputs: &Inputs, now: Millis) -> bool {
        let Some(evidence) = &mut self.evidence else { return false };
        let alarms = evidence.alarms();
        let stable_fails = evidence.stable_fails();
        // Errors on both arms are not the canary's fault. A latency alarm compares the arms: it is.
        let excused = |test: &str| stable_fails && test.starts_with("errors");
        if let Some(alarm) = alarms.iter().find(|alarm| !excused(&alarm.test)) {
            self.roll_back(alarm.reason.clone(), true, inputs, now);
            return true;
        }
        if !alarms.is_empty() {
            evidence.forgive_errors();
        }
        let slow = evidence.incidents().into_iter().next().map(|incident| incident.reason);
        if let Some(what) = slow.or(stable_fails.then(|| "its latest requests fail".to_owned())) {
            self.hold(HoldKind::Incident, format!("stable is in trouble too: {what}"), now);
        }
        false
    }

    /// Whether the table in force ended or stopped the rollout.
    fn judge_table(&mut self, inputs: &Inputs, now: Millis) -> bool {
        // A table on its way is judged by `shift`.
        if matches!(self.state, RolloutState::Shifting { .. }) {
            return false;
        }
        match inputs.observed.as_ref().map(|observed| self.judge(observed)) {
            Some(InForce::LeaseExpired) => self.lease_expired(inputs, now),
            Some(InForce::Foreign(what)) => self.ask_foreign(what, now),
            Some(InForce::Behind) => {
                self.ask_foreign("the data plane fell back to an older table".to_owned(), now);
            }
            Some(InForce::Ours) | None => return false,
        }
        true
    }

    /// Freezes without fresh samples or traffic; without sight for long, users go back to what is known.
    fn judge_sight(&mut self, inputs: &Inputs, now: Millis) {
        let (blind_ms, limit_ms) = (now.since(self.fresh_at), self.plan.metrics_lost_ms);
        if blind_ms > LOST_FACTOR * limit_ms {
            let reason = format!("no fresh sample for {} s", blind_ms / 1000);
            return match inputs.stable_health {
                Some(Health::Healthy) => self.roll_back(reason, false, inputs, now),
                _ => self.ask(format!("{reason}, and stable's health is not visible"), now),
            };
        }
        let kind = self.hold.as_ref().map(|hold| hold.kind);
        if blind_ms > limit_ms {
            return self.hold(HoldKind::MetricsLost, "no fresh samples".to_owned(), now);
        }
        if now.since(self.traffic_at) > limit_ms {
            return self.hold(HoldKind::NoTraffic, "no requests".to_owned(), now);
        }
        if matches!(kind, Some(HoldKind::MetricsLost | HoldKind::NoTraffic)) {
            self.hold = None;
            self.note("samples are fresh again", now);
        }
    }

    /// Stands still; a hold that only a person ends is not replaced.
    pub(super) fn hold(&mut self, kind: HoldKind, reason: String, now: Millis) {
        let held = self.hold.as_ref().map(|hold| hold.kind);
        if held == Some(kind) || matches!(held, Some(HoldKind::Paused | HoldKind::Incident)) {
            return;
        }
        self.note(format!("holds: {reason}"), now);
        self.hold = Some(Hold { since: now, kind, reason });
    }

    /// Keeps the weights and waits for a person.
    pub(super) fn ask(&mut self, reason: String, now: Millis) {
        if matches!(self.state, RolloutState::NeedsHuman { .. }) {
            return;
        }
        self.held_from = Some(Box::new(self.state.clone()));
        self.enter(RolloutState::NeedsHuman { reason: reason.clone() }, reason, now);
    }

    /// Another hand is at the table: never fight it.
    pub(super) fn ask_foreign(&mut self, what: String, now: Millis) {
        self.foreign = true;
        self.ask(format!("somebody else changed the traffic: {what}"), now);
    }

    /// The data plane has already returned everyone.
    pub(super) fn lease_expired(&mut self, inputs: &Inputs, now: Millis) {
        self.percent_in_force = 0.0;
        let reason = "the lease expired: the data plane returned everyone to stable";
        self.roll_back(reason.to_owned(), false, inputs, now);
    }
}
