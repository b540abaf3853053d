//! One decision: fold what was seen, obey, guard the users, then move by at most one state.

use super::finish::is_drained;
use super::{Action, Health, Inputs, Record, pending};
use crate::base::Millis;
use crate::domain::{Finish, RequestRecord, RolloutState};

/// A gap between two calls counts as no more than this [ms]: the rest was the agent's absence.
const GAP_MAX_MS: u64 = 10_000;

/// What `record` becomes after `inputs`, seen at `now`, and what to do then.
///
/// Pure: the same record and inputs give the same result, and the actions are [`pending`] of the new record, so
/// doing them twice is harmless. Write the new record down first.
pub fn step(record: &Record, inputs: &Inputs, now: Millis) -> (Record, Vec<Action>) {
    let mut next = record.clone();
    next.absorb(inputs, now);
    for command in &inputs.commands {
        next.obey(command, inputs, now);
    }
    // What people and alarms decided is acted upon before anything else is considered.
    if next.state == record.state {
        next.guard_users(inputs, now);
    }
    if next.state == record.state {
        next.advance(inputs, now);
    }
    next.updated = now;
    let actions = pending(&next);
    (next, actions)
}

impl Record {
    /// Takes in everything that was seen; decides nothing.
    pub(super) fn absorb(&mut self, inputs: &Inputs, now: Millis) {
        // It was called off while its new version started: what came up after the end goes again.
        let late = inputs.provisioned.as_ref().and_then(|started| started.as_ref().ok());
        if self.is_over()
            && self.canary.is_none()
            && let Some(late) = late
        {
            self.closing.push(Action::Stop { backend: late.id.clone() });
        }
        self.closing.retain(|action| !inputs.performed.contains(action));
        self.cursor = inputs.cursor.or(self.cursor);
        if let Some(observed) = &inputs.observed {
            self.generation_seen = self.generation_seen.max(observed.generation);
        }
        if let Some(at) = inputs.metrics_fresh_at {
            self.fresh_at = self.fresh_at.max(at.min(now));
        }
        match &inputs.canary_health {
            Some(Health::Healthy) => self.canary_failures = 0,
            Some(Health::Failing { .. } | Health::Down { .. }) => self.canary_failures += 1,
            None => {}
        }
        for request in &inputs.records {
            self.absorb_request(request, now);
        }
        let handing_over = self.note_handover(inputs, now);
        // The time since the last call was spent in this state, under this hold.
        if self.hold.is_none() && !handing_over {
            self.judged_ms += now.since(self.updated).min(GAP_MAX_MS);
        }
    }

    /// Whether two versions still share the work after everyone was moved at once: no time to judge in.
    fn note_handover(&mut self, inputs: &Inputs, now: Millis) -> bool {
        let RolloutState::Observing { since, .. } = self.state else { return false };
        let late = now.since(since) >= self.plan.drain_max_ms;
        let Some(evidence) = &mut self.evidence else { return false };
        if late || is_drained(&self.stable, inputs) {
            evidence.note_old_version_idle(now);
        }
        evidence.is_handing_over(now)
    }

    fn absorb_request(&mut self, request: &RequestRecord, now: Millis) {
        self.traffic_at = self.traffic_at.max(request.finished.min(now));
        self.fresh_at = self.fresh_at.max(request.finished.min(now));
        if !self.exposed || self.is_over() {
            return;
        }
        self.requests_failed += u64::from(request.finish == Finish::Failed);
        self.streams_cut += u64::from(request.finish == Finish::Cut);
        if let Some(evidence) = &mut self.evidence {
            evidence.fold(request);
        }
        let dealt_percent = 100.0 * request.canary_probability;
        if !request.randomized || !request.first_turn || (dealt_percent - self.percent).abs() > 1e-6
        {
            return;
        }
        if let Some(step) = self.steps.last_mut().filter(|step| step.ended.is_none()) {
            *step.sessions.entry(request.arm).or_default() += 1;
            if let Some(ms) = request.ttft_ms {
                let sketch = self.step_ttft.entry(request.arm).or_default();
                sketch.note(ms);
                step.ttft_p95_ms.extend(sketch.quantile(0.95).map(|p95| (request.arm, p95)));
            }
        }
    }

    /// Moves on by one state when the present one has what it waits for.
    fn advance(&mut self, inputs: &Inputs, now: Millis) {
        match self.state.clone() {
            RolloutState::Planned
            | RolloutState::Locked
            | RolloutState::Preflight
            | RolloutState::Provisioning
            | RolloutState::Warming => self.prepare(inputs, now),
            RolloutState::Shifting { step, .. } => self.shift(step, inputs, now),
            RolloutState::Observing { step, .. } => self.observe(step, now),
            RolloutState::Draining { since } => self.drain_stable(since, inputs, now),
            RolloutState::Soak { .. } => self.soak(now),
            RolloutState::RollingBack { since, reason } => {
                self.return_users(since, &reason, inputs, now);
            }
            RolloutState::Done
            | RolloutState::RolledBack { .. }
            | RolloutState::NeedsHuman { .. } => {}
        }
    }
}
