//! What the engine has on its desk: threads at work, threads to start, timers, and those it leaves alone. Pure.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

use crate::base::{Millis, ThreadId};
use crate::runtime::Next;

/// Longest pause between two tries of a store that fails [ms].
const RETRY_MAX_MS: u64 = 30_000;

/// What is at work, and what comes after.
#[derive(Default)]
pub(super) struct Desk {
    /// To be started: at work already, for all that asks.
    ready: VecDeque<ThreadId>,
    /// At work; true: woken again meanwhile.
    busy: HashMap<ThreadId, bool>,
    timers: Timers,
    /// To be tried again after a failure of the store, by the clock of pauses.
    retries: Timers,
    /// Failures in a row.
    failures: HashMap<ThreadId, u32>,
    /// Dead or held: only who calls them by name starts them.
    aside: HashSet<ThreadId>,
}

impl Desk {
    /// Somebody calls `thread`, at once or not before a moment.
    pub(super) fn called(&mut self, thread: ThreadId, at: Option<Millis>) {
        match at {
            None => self.start(thread),
            Some(at) => {
                self.aside.remove(&thread);
                self.timers.set_no_later(thread, at);
            }
        }
    }

    /// The store says that `thread` is ready or due.
    pub(super) fn found(&mut self, thread: ThreadId) {
        if !self.is_in_hand(&thread) {
            self.start(thread);
        }
    }

    /// The store says that `thread` is due at `at`.
    pub(super) fn expect(&mut self, thread: ThreadId, at: Millis) {
        if !self.is_in_hand(&thread) {
            self.timers.set_no_later(thread, at);
        }
    }

    fn is_in_hand(&self, thread: &ThreadId) -> bool {
        self.busy.contains_key(thread)
            || self.retries.contains(thread)
            || self.aside.contains(thread)
    }

    fn start(&mut self, thread: ThreadId) {
        self.aside.remove(&thread);
        self.timers.remove(&thread);
        self.retries.remove(&thread);
        match self.busy.get_mut(&thread) {
            Some(again) => *again = true,
            None => {
                self.busy.insert(thread.clone(), false);
                self.ready.push_back(thread);
            }
        }
    }

    /// The next thread to activate.
    pub(super) fn next_ready(&mut self) -> Option<ThreadId> {
        self.ready.pop_front()
    }

    /// An activation ended: `now` by the clock of pauses. Timers later than `horizon` are left to the store.
    pub(super) fn ended(&mut self, thread: ThreadId, next: Next, now: Millis, horizon: Millis) {
        let again = self.busy.remove(&thread).unwrap_or(false);
        if let Next::RetryAfter(pause_ms, problem) = next {
            tracing::warn!(%thread, code = problem.code, "{problem}");
            let failures = self.failures.entry(thread.clone()).or_default();
            let pause_ms = pause_ms.saturating_mul(1 << (*failures).min(16)).min(RETRY_MAX_MS);
            *failures += 1;
            self.retries.set_no_later(thread, now.plus(pause_ms));
            return;
        }
        self.failures.remove(&thread);
        match next {
            _ if again => self.start(thread),
            Next::Again => self.start(thread),
            Next::At(at) if at <= horizon => self.timers.set_no_later(thread, at),
            Next::Idle | Next::At(_) | Next::RetryAfter(..) => {}
            Next::Held => _ = self.aside.insert(thread),
            Next::Dead(problem) => {
                tracing::error!(%thread, code = problem.code, "{problem}");
                self.aside.insert(thread);
            }
        }
    }

    /// Starts what is due by either clock.
    pub(super) fn ring(&mut self, now: Millis, pauses_now: Millis) {
        while let Some(thread) = self.timers.pop_due(now) {
            self.start(thread);
        }
        while let Some(thread) = self.retries.pop_due(pauses_now) {
            self.start(thread);
        }
    }

    /// The earliest timer.
    pub(super) fn next_timer(&self) -> Option<Millis> {
        self.timers.first()
    }

    /// When a failing store is tried next.
    pub(super) fn next_retry(&self) -> Option<Millis> {
        self.retries.first()
    }
}

/// One moment per thread, the earliest first.
#[derive(Default)]
struct Timers {
    by_time: BTreeSet<(Millis, ThreadId)>,
    of: HashMap<ThreadId, Millis>,
}

impl Timers {
    fn contains(&self, thread: &ThreadId) -> bool {
        self.of.contains_key(thread)
    }

    fn first(&self) -> Option<Millis> {
        self.by_time.first().map(|(at, _)| *at)
    }

    fn set_no_later(&mut self, thread: ThreadId, at: Millis) {
        let at = self.of.get(&thread).map_or(at, |held| at.min(*held));
        self.remove(&thread);
        self.of.insert(thread.clone(), at);
        self.by_time.insert((at, thread));
    }

    fn remove(&mut self, thread: &ThreadId) {
        if let Some(at) = self.of.remove(thread) {
            self.by_time.remove(&(at, thread.clone()));
        }
    }

    fn pop_due(&mut self, now: Millis) -> Option<ThreadId> {
        if self.first()? > now {
            return None;
        }
        let (_, thread) = self.by_time.pop_first()?;
        self.of.remove(&thread);
        Some(thread)
    }
}
