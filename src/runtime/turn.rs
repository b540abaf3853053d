//! One owner per thread and process, and the ways to get at it while it works.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::base::{RunId, ThreadId};

/// Who works on a thread in this process. A second activation waits; it would only fence the first.
#[derive(Default)]
pub(super) struct Turns(Mutex<HashMap<ThreadId, Arc<Turn>>>);

/// The seat of the one owner.
#[derive(Default)]
pub(super) struct Turn {
    pub(super) seat: tokio::sync::Mutex<()>,
    mail: AtomicBool,
    bell: tokio::sync::Notify,
    cancel: Mutex<Cancels>,
}

/// Who is to be cancelled. A cancel names its run: the one that was meant may be over, and another one at work.
#[derive(Default)]
struct Cancels {
    /// Of the run at work.
    at_work: Option<(RunId, CancellationToken)>,
    /// Runs that were not at work when their cancel came.
    early: HashSet<RunId>,
}

impl Turns {
    /// The turn of `thread`, made if there is none.
    pub(super) fn of(&self, thread: &ThreadId) -> Arc<Turn> {
        self.lock().entry(thread.clone()).or_default().clone()
    }

    /// The turn of `thread`, if anyone works on it or waits to.
    pub(super) fn current(&self, thread: &ThreadId) -> Option<Arc<Turn>> {
        self.lock().get(thread).cloned()
    }

    /// Forgets the turn unless someone else holds it.
    pub(super) fn leave(&self, thread: &ThreadId, turn: Arc<Turn>) {
        let mut turns = self.lock();
        // One in the map, one in `turn`.
        if Arc::strong_count(&turn) <= 2 {
            turns.remove(thread);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ThreadId, Arc<Turn>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// A letter has come.
    pub(super) fn post(&self) {
        self.mail.store(true, Ordering::Release);
        self.bell.notify_one();
    }

    /// Returns when a letter has come since the last time; perhaps once more than that.
    pub(super) async fn posted(&self) {
        self.bell.notified().await;
    }

    /// Whether a letter has come since the last call.
    pub(super) fn take_mail(&self) -> bool {
        self.mail.load(Ordering::Acquire) && self.mail.swap(false, Ordering::AcqRel)
    }

    /// Set when `run`, which goes on, is to be cancelled.
    pub(super) fn cancel_token(&self, run: &RunId) -> CancellationToken {
        let mut cancels = self.cancels();
        if let Some((_, token)) = cancels.at_work.as_ref().filter(|(of, _)| of == run) {
            return token.clone();
        }
        let token = CancellationToken::new();
        if cancels.early.remove(run) {
            token.cancel();
        }
        cancels.at_work = Some((run.clone(), token.clone()));
        token
    }

    /// Stops the tasks of `run`, now or as soon as it is at work.
    pub(super) fn cancel(&self, run: &RunId) {
        let mut cancels = self.cancels();
        match &cancels.at_work {
            Some((of, token)) if of == run => token.cancel(),
            _ => _ = cancels.early.insert(run.clone()),
        }
    }

    /// Stops whatever is at work.
    pub(super) fn cut_off(&self) {
        if let Some((_, token)) = &self.cancels().at_work {
            token.cancel();
        }
    }

    /// A fresh token for the run at work: the cancel was obeyed.
    pub(super) fn renew(&self) {
        self.cancels().at_work = None;
    }

    fn cancels(&self) -> std::sync::MutexGuard<'_, Cancels> {
        self.cancel.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
