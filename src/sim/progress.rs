//! The end of a step: tokens reach their clients, finished requests leave. And runs of steps taken in one go.

use super::cost::Batch;
use super::schedule::Plan;
use super::ticks::{Ps, seconds};
use super::{Observer, Replica, Step};

impl Replica {
    /// Ends the step under way.
    pub(super) fn complete<O: Observer>(&mut self, plan: Plan, observer: &mut O) {
        self.now = plan.ends;
        observer.step(&Step {
            ended_s: seconds(plan.ends),
            duration_s: seconds(plan.duration),
            tokens: plan.batch.tokens,
            prefill_tokens: plan.prefill_tokens,
            batch: plan.batch.requests,
            preempted: plan.preempted,
        });
        if plan.tokens_each > 0 {
            if observer.every_step() {
                self.show_tokens(&plan, observer);
            }
            self.lockstep.advance(u64::from(plan.tokens_each), plan.duration);
        }
        for (slot, piece) in &plan.pieces {
            self.advance_piece(*slot, *piece, observer);
        }
        self.spare = plan.pieces;
        self.dismiss_finished(observer);
    }

    /// Takes all steps up to the next that changes anything but contexts: a finish, an arrival, `until`. False when
    /// there is not one such step.
    pub(super) fn stride<O: Observer>(&mut self, until: Ps, observer: &mut O) -> bool {
        let members = self.lockstep.size();
        let plain = members > 0 && self.behind.is_empty() && self.speculation.is_off();
        if !plain || observer.every_step() || self.may_admit() {
            return false;
        }
        let slots = &self.slots;
        let member = |slot: u32, stamp: u64| {
            slots[slot as usize].joined.is_some_and(|joined| joined.stamp == stamp)
        };
        let Some(most) = self.lockstep.until_finish(member) else { return false };
        let batch = Batch {
            tokens: members,
            sampled: members,
            requests: members,
            context: self.lockstep.context(),
            ..Batch::default()
        };
        let run = self.cost.run(&batch);
        let arrival = self.inbox.front().map_or(Ps::MAX, |(arrival, _)| arrival - self.now);
        let steps = run.steps_within(most, until - self.now, arrival);
        let blocks = self.lockstep.blocks_for(steps);
        if steps == 0 || blocks > self.pool.free() {
            return false;
        }
        let used = self.pool.used();
        self.pool.take(blocks);
        let duration = run.duration(steps);
        let held = (used, self.pool.used());
        self.usage.add(duration, self.running.len(), self.waiting.len(), held);
        self.lockstep.advance(steps, run.longest(steps));
        self.now += duration;
        self.dismiss_finished(observer);
        true
    }

    /// Adds a computed piece; the last one of a prefill gives a token, and its request decodes from then on.
    fn advance_piece<O: Observer>(&mut self, slot: u32, piece: u32, observer: &mut O) {
        let sequence = &mut self.slots[slot as usize];
        sequence.computed += piece;
        if sequence.pending() > 0 {
            return;
        }
        let gap = sequence.token(self.now);
        let at_s = seconds(self.now) + self.spec.coefficients.ttft_overhead_s;
        observer.token(sequence.request.id, at_s, gap.map(seconds));
        self.behind.retain(|other| *other != slot);
        if sequence.remaining() == 0 {
            self.dismiss(slot, observer);
        } else {
            let joined = self.lockstep.join(slot, sequence.computed, sequence.remaining());
            sequence.joined = Some(joined);
        }
    }

    /// Tells the observer each member's tokens of this step. Tokens of one step arrive together.
    fn show_tokens<O: Observer>(&self, plan: &Plan, observer: &mut O) {
        let at_s = seconds(self.now) + self.spec.coefficients.ttft_overhead_s;
        let step_s = seconds(plan.duration);
        for slot in &self.running {
            let sequence = &self.slots[*slot as usize];
            let Some(joined) = sequence.joined else { continue };
            let left = sequence.remaining() - self.lockstep.progress(joined);
            for token in 0..plan.tokens_each.min(left) {
                let gap_s = if token == 0 { step_s } else { 0.0 };
                observer.token(sequence.request.id, at_s, Some(gap_s));
            }
        }
    }

    fn dismiss_finished<O: Observer>(&mut self, observer: &mut O) {
        loop {
            let slots = &self.slots;
            let member = |slot: u32, stamp: u64| {
                slots[slot as usize].joined.is_some_and(|joined| joined.stamp == stamp)
            };
            let Some(slot) = self.lockstep.pop_finished(member) else { return };
            self.leave_lockstep(slot, 0);
            self.dismiss(slot, observer);
        }
    }

    fn dismiss<O: Observer>(&mut self, slot: u32, observer: &mut O) {
        self.running.retain(|other| *other != slot);
        self.free(slot);
        let overhead_s = self.spec.coefficients.ttft_overhead_s;
        observer.completion(&self.slots[slot as usize].completion(overhead_s));
        self.vacate(slot);
    }
}
