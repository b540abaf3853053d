//! What people order. An alarm is never overruled, and a refused order is written down.

use super::{Command, Health, HoldKind, Inputs, Order, Record};
use crate::base::Millis;
use crate::domain::RolloutState;

/// Why [`step`](super::step) would refuse the first order of `inputs`; `None`: it will be carried out, or there is none.
pub fn refusal(record: &Record, inputs: &Inputs, now: Millis) -> Option<String> {
    let command = inputs.commands.first()?;
    let mut next = record.clone();
    next.absorb(inputs, now);
    next.carry_out(command, inputs, now)
}

impl Record {
    /// Carries out one order, or notes why not.
    pub(super) fn obey(&mut self, command: &Command, inputs: &Inputs, now: Millis) {
        if let Some(why) = self.carry_out(command, inputs, now) {
            self.note(format!("{:?} by {} refused: {why}", command.order, command.by), now);
        }
    }

    /// Why an order is refused; `None`: it was carried out.
    fn carry_out(&mut self, command: &Command, inputs: &Inputs, now: Millis) -> Option<String> {
        self.refusal(command).or_else(|| match command.order {
            Order::Pause => self.pause(&command.by, now),
            Order::Resume => self.resume(&command.by, inputs, now),
            Order::Skip => self.jump(false, &command.by, inputs, now),
            Order::Promote => self.jump(true, &command.by, inputs, now),
            Order::Abort => {
                self.roll_back(format!("aborted by {}", command.by), false, inputs, now);
                None
            }
        })
    }

    fn refusal(&self, command: &Command) -> Option<String> {
        if self.is_over() {
            return Some("the rollout is over".to_owned());
        }
        let stale = command.generation.filter(|generation| *generation != self.generation);
        if let Some(generation) = stale {
            return Some(format!(
                "it was given at generation {generation}, this is {}",
                self.generation
            ));
        }
        let goes_on = matches!(command.order, Order::Resume | Order::Skip | Order::Promote);
        let alarm = self.evidence.as_ref().and_then(|tests| tests.alarms().into_iter().next());
        alarm.filter(|_| goes_on).map(|alarm| alarm.reason)
    }

    fn pause(&mut self, by: &str, now: Millis) -> Option<String> {
        let can = matches!(
            self.state,
            RolloutState::Shifting { .. }
                | RolloutState::Observing { .. }
                | RolloutState::Draining { .. }
                | RolloutState::Soak { .. }
        );
        if !can {
            return Some("no users are being moved".to_owned());
        }
        self.hold = None;
        self.hold(HoldKind::Paused, format!("paused by {by}"), now);
        None
    }

    fn resume(&mut self, by: &str, inputs: &Inputs, now: Millis) -> Option<String> {
        let asks = matches!(self.state, RolloutState::NeedsHuman { .. });
        if self.hold.is_none() && !asks {
            return Some("nothing holds it".to_owned());
        }
        if self.hold.take().is_some_and(|hold| hold.kind == HoldKind::Incident)
            && let Some(evidence) = &mut self.evidence
        {
            evidence.clear_incidents();
        }
        self.judged_ms = 0;
        let why = format!("resumed by {by}");
        if !asks {
            self.note(why, now);
            return None;
        }
        match (self.held_from.as_deref().cloned(), self.foreign) {
            (Some(RolloutState::RollingBack { reason, .. }), _) => {
                self.roll_back(reason, false, inputs, now);
            }
            (Some(RolloutState::Observing { step, .. }), false) => {
                self.enter(RolloutState::Observing { step, since: now }, why, now);
            }
            (Some(state), false) => self.enter(state, why, now),
            // The share is asked for anew, above the generation of whoever was there.
            (Some(state), true) => {
                self.begin_shift(self.step_of(&state), why, &Inputs::default(), now);
            }
            (None, _) => {}
        }
        None
    }

    /// Why more users must not come: no order skips this, as it is no wait.
    fn danger(&self, inputs: &Inputs) -> Option<String> {
        if let Some(hold) = self.hold.as_ref().filter(|hold| hold.kind != HoldKind::Paused) {
            return Some(format!("it holds: {}", hold.reason));
        }
        if let Some(Health::Failing { reason } | Health::Down { reason }) = &inputs.canary_health {
            return Some(format!("the canary is not healthy: {reason}"));
        }
        let suspicions = self.evidence.as_ref().map(|tests| tests.suspicions())?;
        suspicions.into_iter().next()
    }

    /// Goes on without waiting. `unproven`: to the last share, at the person's own risk.
    fn jump(&mut self, unproven: bool, by: &str, inputs: &Inputs, now: Millis) -> Option<String> {
        let from = match (&self.state, &self.held_from) {
            (RolloutState::NeedsHuman { .. }, Some(state)) if !self.foreign => (**state).clone(),
            (state, _) => state.clone(),
        };
        let RolloutState::Observing { step, .. } = from else {
            return Some("no share is being observed".to_owned());
        };
        let last = self.plan.steps_percent.len() - 1;
        let to = if unproven { last } else { step + 1 };
        if step == last {
            return Some("all users are there already".to_owned());
        }
        if let Some(danger) = self.danger(inputs) {
            return Some(danger);
        }
        let proof = self.evidence.as_ref().map(|tests| tests.unproven(self.plan.sessions_min));
        let missing = proof.unwrap_or_default();
        if to == last && !unproven && !missing.is_empty() {
            return Some(missing.join("; "));
        }
        self.held_from = None;
        let verb = if unproven { "promoted" } else { "skipped" };
        self.begin_shift(to, format!("{verb} by {by}"), inputs, now);
        None
    }

    fn step_of(&self, state: &RolloutState) -> usize {
        match state {
            RolloutState::Shifting { step, .. } | RolloutState::Observing { step, .. } => *step,
            RolloutState::Draining { .. } | RolloutState::Soak { .. } => {
                self.plan.steps_percent.len() - 1
            }
            _ => 0,
        }
    }
}
