//! The engine of one process: the store says what is due, the clock says when.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use async_trait::async_trait;
use futures::FutureExt;
use tokio::sync::{Mutex, Notify, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::desk::Desk;
use crate::base::{Clock, Coded, Millis, Problem, ThreadId};
use crate::runtime::{Activate, CheckpointStore, Engine, Error, Next, Status};

/// How often threads are looked for that are ready or due and that nobody woke [ms].
const RECONCILE_MS: u64 = 15_000;
/// A ready thread untouched for so long was forgotten [ms].
const STALE_MS: u64 = 10_000;
/// Timers are kept at hand up to this far ahead [ms]; what lies further stays a row of the store until a look finds it.
const HORIZON_MS: u64 = 2 * RECONCILE_MS;
/// Threads that one look at the store brings, at first.
const BATCH: usize = 1_024;
/// Pause before a store that failed is asked again [ms].
const STORE_RETRY_MS: u64 = 1_000;
/// How often a failing store is tried again before `run_to_rest` gives up.
const RETRIES_MAX: u32 = 5;

/// A call to wake a thread; not before a moment, if there is one.
type Wake = (ThreadId, Option<Millis>);

/// Wakes threads of one process.
pub struct Local {
    store: Arc<dyn CheckpointStore>,
    clock: Arc<dyn Clock>,
    /// Time between two tries of a store that fails: real, where the threads' own clock is simulated.
    pauses: Arc<dyn Clock>,
    wakes: mpsc::UnboundedSender<Wake>,
    woken: Mutex<mpsc::UnboundedReceiver<Wake>>,
    /// For those who wait for one thread without serving all.
    nudge: Notify,
}

/// Why a thread rests.
#[derive(Debug, Clone, PartialEq)]
pub enum Rest {
    /// Its run is over, or it never had one.
    Over,
    /// It waits for a person.
    Person,
    /// It waits for a signal, or for whoever holds it.
    Signal,
    /// The caller stopped it.
    Stopped,
}

impl Local {
    /// An engine over `store`, by `clock`.
    pub fn new(store: Arc<dyn CheckpointStore>, clock: Arc<dyn Clock>) -> Self {
        let (wakes, woken) = mpsc::unbounded_channel();
        let (pauses, woken) = (clock.clone(), Mutex::new(woken));
        Self { store, clock, pauses, wakes, woken, nudge: Notify::new() }
    }

    /// The same, with the pauses of a failing store taken by `pauses`.
    #[must_use]
    pub fn with_pauses(self, pauses: Arc<dyn Clock>) -> Self {
        Self { pauses, ..self }
    }

    /// Activates `thread` soon: what is ready lies in the store already, so a restart finds it without this.
    pub fn call(&self, thread: &ThreadId) {
        self.send((thread.clone(), None));
    }

    fn send(&self, wake: Wake) {
        // The receiver lives in `self`.
        let _ = self.wakes.send(wake);
        self.nudge.notify_waiters();
    }

    /// Activates one thread until its run is over, or waits for a person or a signal. Timers are slept through.
    ///
    /// Errors: the thread cannot be loaded, or the store keeps failing.
    pub async fn run_to_rest(
        &self,
        activate: &dyn Activate,
        thread: &ThreadId,
        stop: &CancellationToken,
    ) -> Result<Rest, Problem> {
        let mut failures = 0;
        loop {
            // Listening before looking: a letter that comes while we look nudges again.
            let mut nudged = std::pin::pin!(self.nudge.notified());
            nudged.as_mut().enable();
            let next = activate.activate(thread, stop).await;
            failures = if matches!(next, Next::RetryAfter(..)) { failures + 1 } else { 0 };
            let (clock, until) = match next {
                Next::Dead(problem) => return Err(problem),
                Next::RetryAfter(_, problem) if failures > RETRIES_MAX => return Err(problem),
                _ if stop.is_cancelled() => return Ok(Rest::Stopped),
                Next::Again => continue,
                Next::RetryAfter(pause_ms, problem) => {
                    tracing::warn!(%thread, code = problem.code, "{problem}");
                    (&self.pauses, self.pauses.now().plus(pause_ms))
                }
                Next::Idle | Next::Held => return self.rest(thread).await,
                Next::At(at) => match self.rest(thread).await? {
                    // Its expiry alone would wake it: whoever called can ask the person.
                    Rest::Person => return Ok(Rest::Person),
                    _ => (&self.clock, at),
                },
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(Rest::Stopped),
                () = nudged => {}
                () = clock.sleep_until(until) => {}
            }
        }
    }

    async fn rest(&self, thread: &ThreadId) -> Result<Rest, Problem> {
        let head = self.store.head(thread).await?;
        Ok(match head.as_deref().map(|head| head.status) {
            Some(Status::Interrupted) => Rest::Person,
            Some(Status::Waiting | Status::Running) => Rest::Signal,
            _ => Rest::Over,
        })
    }
}

#[async_trait]
impl Engine for Local {
    async fn wake(&self, thread: &ThreadId, not_before: Option<Millis>) -> Result<(), Error> {
        if let Some(at) = not_before {
            self.store.put_wake(thread, at).await?;
        }
        self.send((thread.clone(), not_before));
        Ok(())
    }

    async fn serve(
        &self,
        activate: Arc<dyn Activate>,
        stop: CancellationToken,
    ) -> Result<(), Error> {
        let mut woken = self.woken.lock().await;
        let mut running = JoinSet::new();
        let mut desk = Desk::default();
        let simulated = self.clock.is_simulated();
        // At first everything that is ready is looked for: an earlier process left it behind.
        let (mut looked, mut look_at) = (false, Some(self.pauses.now()));
        let mut limit = BATCH;
        while !stop.is_cancelled() {
            if look_at.is_some_and(|at| at <= self.pauses.now()) {
                let found = self.look(&mut desk, looked, limit).await;
                let more = matches!(found, Ok(true));
                // Some may stay ready for long, behind a run that waits: they must not hide the others.
                limit = if more { limit * 2 } else { BATCH };
                looked |= matches!(found, Ok(false));
                look_at = self.next_look(found);
            }
            desk.ring(self.clock.now(), self.pauses.now());
            while let Some(thread) = desk.next_ready() {
                running.spawn(activated(activate.clone(), thread, stop.clone()));
            }
            let timer = desk.next_timer();
            // Sleeping moves a simulated clock: not while a node is at work in it.
            let may_sleep = timer.is_some() && looked && (!simulated || running.is_empty());
            let pause = [desk.next_retry(), look_at].into_iter().flatten().min();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some((thread, at)) = woken.recv() => desk.called(thread, at),
                Some(done) = running.join_next() => {
                    if let Ok((thread, next)) = done {
                        desk.ended(thread, next, self.pauses.now(), self.horizon());
                    }
                }
                () = self.pauses.sleep_until(pause.unwrap_or_default()), if pause.is_some() => {}
                () = self.clock.sleep_until(timer.unwrap_or_default()), if may_sleep => {}
            }
        }
        while running.join_next().await.is_some() {}
        Ok(())
    }
}

impl Local {
    /// What the store knows and the desk does not: threads that are ready and that nobody woke, because a crash or a lost
    /// wake left them behind, and timers. True if there may be more.
    async fn look(&self, desk: &mut Desk, looked: bool, limit: usize) -> Result<bool, Error> {
        let now = self.clock.now();
        let older = if looked { Millis(now.0.saturating_sub(STALE_MS)) } else { Millis(u64::MAX) };
        let ready = self.store.stale_ready(older, limit).await?;
        let timers = self.store.wakes(self.horizon(), limit).await?;
        let more = ready.len() == limit || timers.len() == limit;
        for thread in ready {
            desk.found(thread);
        }
        // Whether a simulated clock may be moved to it, or stands still for a person, is the thread's to say first.
        let asks_first = self.clock.is_simulated();
        for (at, thread) in timers {
            if at <= now || asks_first { desk.found(thread) } else { desk.expect(thread, at) }
        }
        Ok(more)
    }

    /// When to look next. A simulated clock is not moved for a look: nothing gets lost in one process.
    fn next_look(&self, found: Result<bool, Error>) -> Option<Millis> {
        let now = self.pauses.now();
        match found {
            Ok(true) => Some(now),
            Ok(false) if self.clock.is_simulated() => None,
            Ok(false) => Some(now.plus(RECONCILE_MS)),
            Err(error) => {
                tracing::warn!(
                    code = error.code(),
                    "threads are looked for again in a moment: {error}"
                );
                Some(now.plus(STORE_RETRY_MS))
            }
        }
    }

    /// Timers up to here are kept at hand.
    fn horizon(&self) -> Millis {
        if self.clock.is_simulated() { Millis(u64::MAX) } else { self.clock.now().plus(HORIZON_MS) }
    }
}

/// One activation; a panic in it is the end of it.
async fn activated(
    activate: Arc<dyn Activate>,
    thread: ThreadId,
    stop: CancellationToken,
) -> (ThreadId, Next) {
    let work = AssertUnwindSafe(activate.activate(&thread, &stop)).catch_unwind();
    let next = work.await.unwrap_or_else(|_| Next::Dead(panicked()));
    (thread, next)
}

fn panicked() -> Problem {
    Problem {
        code: "engine.activation_panicked".to_owned(),
        message: "the runtime panicked on this thread".to_owned(),
        hint: "this is a defect: report it; the thread is tried again when it is woken".to_owned(),
    }
}
