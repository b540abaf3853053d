//! The two ends: the old version drained and kept warm, or everyone returned to it.

use super::table::InForce;
use super::{Action, Health, Inputs, Record};
use crate::base::Millis;
use crate::domain::{Backend, RolloutState};

impl Record {
    /// Returns all users to stable, or ends at once when none was exposed.
    ///
    /// `blame`: the config failed, and is blocked. Never back to a stable that is known to be dead: a person decides then.
    pub(super) fn roll_back(&mut self, reason: String, blame: bool, inputs: &Inputs, now: Millis) {
        if self.is_over() || matches!(self.state, RolloutState::RollingBack { .. }) {
            return;
        }
        self.blamed |= blame;
        if !self.exposed {
            return self.end(RolloutState::RolledBack { reason: reason.clone() }, reason, now);
        }
        if let Some(Health::Down { reason: dead }) = &inputs.stable_health {
            return self.ask(format!("{reason}; but stable is down: {dead}"), now);
        }
        self.end_step("rolled_back", now);
        self.generation = self.generation_seen.max(self.generation) + 1;
        self.percent = 0.0;
        self.hold = None;
        self.foreign = false;
        self.enter(RolloutState::RollingBack { since: now, reason: reason.clone() }, reason, now);
    }

    /// Waits until stable serves everyone and the canary has finished what it had.
    pub(super) fn return_users(&mut self, since: Millis, why: &str, inputs: &Inputs, now: Millis) {
        match inputs.observed.as_ref().map(|observed| (self.judge(observed), observed)) {
            Some((InForce::Ours, _)) => self.percent_in_force = 0.0,
            // Whoever did it, users are where they should be.
            Some((_, observed)) if observed.canary_percent == 0.0 => self.percent_in_force = 0.0,
            Some((InForce::Foreign(what), _)) => return self.ask_foreign(what, now),
            // Not read back: nothing ends before users are seen to be back.
            Some(_) | None => return,
        }
        let drained = is_drained(self.canary.as_slice(), inputs);
        if drained || now.since(since) >= self.plan.drain_max_ms {
            let how = if drained { "the canary is drained" } else { "the canary's time is over" };
            self.end(RolloutState::RolledBack { reason: why.to_owned() }, how.to_owned(), now);
        }
    }

    /// Waits until the old version has finished what it had.
    pub(super) fn drain_stable(&mut self, since: Millis, inputs: &Inputs, now: Millis) {
        let drained = is_drained(&self.stable, inputs);
        if drained || now.since(since) >= self.plan.drain_max_ms {
            self.judged_ms = 0;
            let why =
                if drained { "the old version is drained" } else { "the drain's time is over" };
            self.enter(RolloutState::Soak { since: now }, why, now);
        }
    }

    /// Keeps the old version warm for a while.
    pub(super) fn soak(&mut self, now: Millis) {
        if self.hold.is_none() && self.judged_ms >= self.plan.soak_ms {
            self.end(RolloutState::Done, "soaked without an alarm".to_owned(), now);
        }
    }

    fn end(&mut self, state: RolloutState, why: String, now: Millis) {
        self.enter(state, why, now);
        self.hold = None;
        (self.percent, self.percent_in_force) = (0.0, 0.0);
        if self.exposed {
            self.generation = self.generation_seen.max(self.generation) + 1;
        }
        self.closing = match &self.state {
            RolloutState::Done => self.close_promoted(),
            RolloutState::RolledBack { reason } => self.close_rolled_back(reason),
            _ => Vec::new(),
        };
    }

    fn close_promoted(&self) -> Vec<Action> {
        let mut closing = vec![Action::Apply { table: self.final_table() }];
        let canary = self.canary.iter();
        closing.extend(canary.map(|backend| Action::Assign { backend: backend.id.clone() }));
        closing.extend(self.stable.iter().map(stop));
        closing.push(self.unlock());
        closing
    }

    fn close_rolled_back(&self, reason: &str) -> Vec<Action> {
        let mut closing = Vec::new();
        if self.exposed {
            closing.push(Action::Apply { table: self.final_table() });
        }
        closing.push(match &self.canary {
            Some(backend) => stop(backend),
            None => Action::Discard { key: self.launch_key() },
        });
        if self.blamed {
            let fingerprint = self.proposal.config.fingerprint();
            closing.push(Action::Block { fingerprint, reason: reason.to_owned() });
        }
        closing.push(self.unlock());
        closing
    }
}

fn stop(backend: &Backend) -> Action {
    Action::Stop { backend: backend.id.clone() }
}

/// All of them are known to have nothing under way.
pub(super) fn is_drained(backends: &[Backend], inputs: &Inputs) -> bool {
    backends.iter().all(|backend| inputs.in_flight.get(&backend.id) == Some(&0))
}
