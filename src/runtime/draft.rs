//! A checkpoint in the making, with all that will be committed beside it.

use std::sync::Arc;

use serde_json::Value;

use super::{
    Change, Checkpoint, Commit, Data, Epoch, Lineage, NewEvent, Origin, RunError, Slot, Status,
    TaskResult, TaskState, Usage, Verdict,
};
use crate::base::{EffectKey, Millis};

/// What the next commit will be. Transitions change it; only the activation writes it.
pub(super) struct Draft {
    pub(super) state: Checkpoint,
    pub(super) changed: Vec<Change>,
    pub(super) events: Vec<NewEvent>,
    pub(super) applied: Vec<u64>,
    pub(super) inbox_read_to: Option<u64>,
    pub(super) effects: Vec<(EffectKey, Verdict)>,
    pub(super) closes_superstep: bool,
    /// What makes the next state, if this makes one.
    pub(super) origin: Origin,
    /// The checkpoint it grows from, where that is not the one before.
    pub(super) grown_from: Option<u64>,
    parent_seq: u64,
}

impl Draft {
    /// The successor of `head`, so far the same.
    pub(super) fn after(head: &Checkpoint, now: Millis) -> Self {
        let mut draft = Self::new(head.clone(), head.seq);
        if head.status == Status::Interrupted {
            draft.state.progress.waited_ms += now.since(head.at);
        }
        draft.state.seq += 1;
        draft.state.at = now;
        draft
    }

    /// The first checkpoint of a thread.
    pub(super) fn first(state: Checkpoint) -> Self {
        Self::new(state, 0)
    }

    fn new(state: Checkpoint, parent_seq: u64) -> Self {
        Self {
            state,
            changed: Vec::new(),
            events: Vec::new(),
            applied: Vec::new(),
            inbox_read_to: None,
            effects: Vec::new(),
            closes_superstep: false,
            origin: Origin::Superstep,
            grown_from: None,
            parent_seq,
        }
    }

    /// Adds a journal entry.
    pub(super) fn event(&mut self, kind: &'static str, data: impl Into<Data>) {
        self.events.push(NewEvent {
            at: self.state.at,
            run: self.state.run.id.clone(),
            kind: kind.into(),
            data: data.into(),
        });
    }

    /// Sets a channel; its version grows once per commit, however often it is set.
    pub(super) fn set(&mut self, channel: &str, value: Option<Arc<Value>>, kept: usize) {
        let superstep = self.state.superstep;
        if let Some(change) = self.changed.iter_mut().find(|change| change.channel == channel) {
            change.kept = 0;
            if let Some(slot) = self.state.channels.get_mut(channel) {
                (slot.value, slot.superstep) = (value, superstep);
            }
            return;
        }
        self.changed.push(Change { channel: channel.to_owned(), kept });
        match self.state.channels.get_mut(channel) {
            Some(slot) => *slot = Slot { version: slot.version + 1, superstep, value },
            None => {
                self.state.channels.insert(channel, Slot { version: 1, superstep, value });
            }
        }
    }

    /// The value of a channel; `None`: unset.
    pub(super) fn value(&self, channel: &str) -> Option<Arc<Value>> {
        self.state.channels.get(channel)?.value.clone()
    }

    /// Counts what a node's model calls took, as far as it is not counted yet.
    pub(super) fn count(&mut self, node: &str, usage: Usage) {
        let progress = &mut self.state.progress;
        let before = progress.counted.get(node).copied().unwrap_or_default();
        progress.usage.add(usage.since(before));
    }

    /// Counts what a failed node took. What is tried again finds its model's answers in the ledger, and pays once.
    pub(super) fn count_failed(&mut self, node: &str, usage: Usage) {
        self.count(node, usage);
        if !usage.is_none() {
            self.state.progress.counted.insert(node.to_owned(), usage);
        }
    }

    /// Ends the run with a failure. Tasks that did not finish stay, for a later `retry`.
    pub(super) fn fail(&mut self, error: RunError) {
        self.state.status = Status::Error;
        for task in &mut self.state.tasks {
            if matches!(task.state, TaskState::At(_)) {
                task.state = TaskState::Ready;
            }
        }
        let data = serde_json::json!({
            "node": error.node, "class": error.class, "problem": error.problem,
        });
        self.event(super::kind::RUN_ERROR, data);
        self.state.error = Some(Box::new(error));
    }

    /// Keeps results of finished tasks of `head` that nothing is going to be made of: who goes back there finds them.
    pub(super) fn keep(&mut self, head: &Checkpoint, results: Vec<TaskResult>) {
        for (place, result) in results.into_iter().enumerate() {
            let Some(task) = head.tasks.iter().find(|task| task.node == result.node) else {
                continue;
            };
            let (superstep, node) = (task.superstep(head), &result.node);
            let data =
                serde_json::json!({ "node": node, "superstep": superstep, "result": result });
            let (at, run) = (self.state.at, head.run.id.clone());
            let kept = NewEvent { at, run, kind: super::kind::STEP_KEPT.into(), data: data.into() };
            // It happened before all that this commit says.
            self.events.insert(place.min(self.events.len()), kept);
        }
    }

    /// The commit, to be written under `epoch`.
    pub(super) fn into_commit(mut self, epoch: Epoch) -> Commit {
        if self.closes_superstep || !self.changed.is_empty() {
            self.state.progress.lineage = Lineage {
                step: self.state.progress.lineage.step + 1,
                origin: self.origin,
                seq: self.state.seq,
                at: self.state.at,
                parent: self.grown_from.unwrap_or(self.parent_seq),
            };
        }
        Commit {
            epoch,
            parent_seq: self.parent_seq,
            checkpoint: Arc::new(self.state),
            changed: self.changed,
            events: self.events,
            applied: self.applied,
            inbox_read_to: self.inbox_read_to,
            effects: self.effects,
            closes_superstep: self.closes_superstep,
        }
    }
}
