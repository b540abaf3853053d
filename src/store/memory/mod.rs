//! A store that forgets when the process ends: for tests, and for runs nobody will ask about again.

mod checkpoints;
mod documents;
mod saver;

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use crate::base::{Document, EffectKey, Millis, RunId, ThreadId};
use crate::runtime::{
    Checkpoint, Commit, Committed, Data, Event, NewEvent, Posted, Retention, Status, TaskResult,
};

/// Everything in this process's memory.
#[derive(Default)]
pub struct MemoryStore {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    threads: HashMap<ThreadId, Thread>,
    graphs: HashMap<String, String>,
    effects: HashMap<EffectKey, Effect>,
    /// By collection and key; a collection without any is not there.
    documents: HashMap<String, HashMap<String, (u64, Document)>>,
    /// Checkpoints of other frameworks.
    saved: saver::Saved,
    /// Letters and document writes so far: both are numbered by it.
    counter: u64,
}

/// A side effect, or an answer that is remembered.
struct Effect {
    thread: ThreadId,
    /// How it ended; `None`: it was begun.
    result: Option<Value>,
    /// A remembered answer is good up to then.
    until: Option<Millis>,
}

#[derive(Default, Clone)]
struct Thread {
    epoch: u64,
    history: Vec<Arc<Checkpoint>>,
    events: Vec<Entry>,
    results: Vec<TaskResult>,
    inbox: Vec<Posted>,
    dedupe: HashSet<String>,
    wake_at: Option<Millis>,
    updated: Millis,
}

/// One entry of a journal: numbered, and JSON only for those who read it.
#[derive(Clone)]
struct Entry {
    seq: u64,
    at: Millis,
    /// The one that the entries before have, while it is the same.
    run: Arc<RunId>,
    kind: Cow<'static, str>,
    data: Data,
}

impl Entry {
    fn event(&self) -> Event {
        Event {
            seq: self.seq,
            at: self.at,
            run: (*self.run).clone(),
            kind: self.kind.clone().into_owned(),
            data: self.data.clone().into_json(),
        }
    }
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Forgets effects of threads that are `through`, and answers whose time is over; how many went.
    fn forget_effects(&mut self, through: &HashSet<ThreadId>, moment: Option<Millis>) -> u64 {
        let before = self.effects.len();
        let threads = &self.threads;
        self.effects.retain(|_, effect| match effect.until {
            None => !through.contains(&effect.thread),
            Some(until) => {
                let last = threads.get(&effect.thread).map_or(Millis(0), |thread| thread.updated);
                until > last && moment.is_none_or(|moment| until > moment)
            }
        });
        (before - self.effects.len()) as u64
    }
}

impl Thread {
    fn head(&self) -> Option<&Arc<Checkpoint>> {
        self.history.last()
    }

    fn journal(&mut self, events: Vec<NewEvent>) {
        for event in events {
            let NewEvent { at, run, kind, data } = event;
            let last = self.events.last();
            let seq = last.map_or(1, |last| last.seq + 1);
            let same = last.filter(|last| *last.run == run).map(|last| last.run.clone());
            let run = same.unwrap_or_else(|| Arc::new(run));
            self.events.push(Entry { seq, at, run, kind, data });
        }
    }

    fn at(&self, seq: u64) -> Option<&Arc<Checkpoint>> {
        self.history.binary_search_by_key(&seq, |state| state.seq).ok().map(|ix| &self.history[ix])
    }

    /// Nothing goes on here and nobody asked for anything.
    fn is_at_rest(&self) -> bool {
        self.inbox.is_empty() && self.head().is_some_and(|head| head.status.is_over())
    }

    /// Forgets checkpoints; how many went.
    fn prune(&mut self, keep: usize) -> u64 {
        let limit = self.head().map_or(0, |head| head.prune_limit());
        let gone = self.history.len().saturating_sub(keep.max(1));
        let gone = gone.min(self.history.partition_point(|state| state.seq < limit));
        self.history.drain(..gone);
        gone as u64
    }

    /// Forgets what `retention` does not keep of a thread that stays: checkpoints, events.
    fn shorten(&mut self, retention: &Retention) -> (u64, u64) {
        let checkpoints = retention.checkpoints_max.map_or(0, |keep| self.prune(keep));
        let last = self.events.last().map_or(0, |last| last.seq);
        let first_kept = retention.events_max.map_or(0, |keep| last.saturating_sub(keep) + 1);
        let gone = self.events.partition_point(|entry| entry.seq < first_kept);
        self.events.drain(..gone);
        (checkpoints, gone as u64)
    }

    /// Forgets everything. The epoch stays and grows: whoever still works on the thread must find itself fenced.
    fn forget(&mut self) {
        *self = Self { epoch: self.epoch + 1, ..Self::default() };
    }

    /// No run of it can go on, so none can make its effects again.
    fn is_through(&self) -> bool {
        let over = |head: &Arc<Checkpoint>| matches!(head.status, Status::Done | Status::Cancelled);
        self.inbox.is_empty() && self.head().is_some_and(over)
    }

    fn is_ready(&self) -> bool {
        !self.inbox.is_empty() || self.head().is_some_and(|head| head.status == Status::Running)
    }

    fn accepts(&self, commit: &Commit) -> Committed {
        let newer = |read_to: u64| self.inbox.iter().any(|posted| posted.id > read_to);
        if self.epoch > commit.epoch.0 {
            Committed::Fenced
        } else if self.head().map_or(0, |head| head.seq) != commit.parent_seq
            || commit.inbox_read_to.is_some_and(newer)
        {
            Committed::Stale
        } else {
            Committed::Committed
        }
    }
}
