//! A share of users: put in force, read back, judged, passed on.

use super::table::InForce;
use super::{Inputs, Record};
use crate::base::Millis;
use crate::domain::{Arm, RolloutState, StepRecord};

/// Longest wait for a table to be read back [ms].
const ACK_MS_MAX: u64 = 30_000;

impl Record {
    /// Asks for the share of `step`. The first one begins the exposure of users.
    pub(super) fn begin_shift(
        &mut self,
        step: usize,
        why: impl Into<String>,
        inputs: &Inputs,
        now: Millis,
    ) {
        if !self.exposed {
            if let Some(reason) = self.foreign_before(inputs) {
                return self.ask(reason, now);
            }
            self.generation_before = self.generation_seen.max(self.generation);
            // Freshness is demanded from now on.
            (self.fresh_at, self.traffic_at) = (self.fresh_at.max(now), self.traffic_at.max(now));
            self.exposed = true;
        }
        self.end_step("passed", now);
        self.foreign = false;
        self.generation = self.generation_seen.max(self.generation) + 1;
        self.percent = self.percent_of(step);
        self.steps.push(StepRecord {
            percent: self.percent,
            started: now,
            ended: None,
            verdict: "running".to_owned(),
            sessions: std::collections::BTreeMap::new(),
            ttft_p95_ms: std::collections::BTreeMap::new(),
        });
        self.step_ttft.clear();
        self.judged_ms = 0;
        self.hold = None;
        self.enter(RolloutState::Shifting { step, since: now }, why, now);
    }

    /// Ends the record of the present share.
    pub(super) fn end_step(&mut self, verdict: &str, now: Millis) {
        if let Some(step) = self.steps.last_mut().filter(|step| step.ended.is_none()) {
            step.ended = Some(now);
            step.verdict = verdict.to_owned();
        }
    }

    /// Somebody else changed the traffic while the new version was being prepared.
    fn foreign_before(&mut self, inputs: &Inputs) -> Option<String> {
        let observed = inputs.observed.as_ref()?;
        let ours = observed.canary_percent == 0.0 && observed.stable.backends == self.stable;
        self.foreign = !ours;
        (!ours).then(|| {
            format!("generation {} serves other backends than at the start", observed.generation)
        })
    }

    /// Waits until the table is read back.
    pub(super) fn shift(&mut self, step: usize, inputs: &Inputs, now: Millis) {
        match inputs.observed.as_ref().map(|observed| self.judge(observed)) {
            Some(InForce::Ours) => {
                self.percent_in_force = self.percent;
                self.judged_ms = 0;
                if let Some(record) = self.steps.last_mut() {
                    record.started = now;
                }
                let full = step + 1 == self.plan.steps_percent.len();
                if let Some(evidence) = &mut self.evidence {
                    evidence.begin_step(full, now);
                }
                let why = format!("{} % are in force", self.percent);
                self.enter(RolloutState::Observing { step, since: now }, why, now);
            }
            Some(InForce::LeaseExpired) => self.lease_expired(inputs, now),
            Some(InForce::Foreign(what)) => self.ask_foreign(what, now),
            Some(InForce::Behind) | None if self.judged_ms > ACK_MS_MAX => {
                let why = format!("{} % were not in force after 30 s", self.percent);
                self.roll_back(why, false, inputs, now);
            }
            Some(InForce::Behind) | None => {}
        }
    }

    /// Judges the present share: alarms were looked at before.
    pub(super) fn observe(&mut self, step: usize, now: Millis) {
        if self.hold.is_some() {
            return;
        }
        let missing = self.missing(step);
        if missing.is_empty() {
            self.pass(step, now);
        } else if self.judged_ms >= self.plan.step_time_max_ms {
            let waited_min = self.judged_ms / 60_000;
            self.ask(
                format!("after {waited_min} min at {} %: {}", self.percent, missing.join("; ")),
                now,
            );
        }
    }

    fn pass(&mut self, step: usize, now: Millis) {
        let sessions = self.canary_sessions();
        if step + 1 < self.plan.steps_percent.len() {
            let why = format!("{} % passed with {sessions} canary sessions", self.percent);
            // The table in force is ours: `guard_users` has just checked it.
            return self.begin_shift(step + 1, why, &Inputs::default(), now);
        }
        self.end_step("passed", now);
        self.judged_ms = 0;
        let why = format!("all users are served by the new version, {sessions} sessions");
        self.enter(RolloutState::Draining { since: now }, why, now);
    }

    /// What the share of `step` still needs; empty: it may pass.
    ///
    /// Every share needs its bake time, its sessions and no test half way to an alarm. The step to 100 % needs
    /// proof besides: from there on nothing is left to compare with.
    pub(super) fn missing(&self, step: usize) -> Vec<String> {
        let mut missing = Vec::new();
        if self.judged_ms < self.plan.bake_time_ms {
            missing.push(format!(
                "bake time {} of {} s",
                self.judged_ms / 1000,
                self.plan.bake_time_ms / 1000
            ));
        }
        let sessions = self.canary_sessions();
        if sessions < self.plan.sessions_min {
            missing.push(format!("{sessions} of {} canary sessions", self.plan.sessions_min));
        }
        let Some(evidence) = &self.evidence else {
            missing.push("no evidence is being gathered".to_owned());
            return missing;
        };
        missing.extend(evidence.suspicions());
        missing.extend(evidence.unjudged(self.plan.sessions_min));
        if step + 2 == self.plan.steps_percent.len() {
            missing.extend(evidence.unproven(self.plan.sessions_min));
        }
        missing
    }

    fn canary_sessions(&self) -> u64 {
        self.steps.last().and_then(|step| step.sessions.get(&Arm::Canary)).copied().unwrap_or(0)
    }
}
