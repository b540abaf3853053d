//! The engine of one process: the store says what is due, the clock says when.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use async_trait::async_trait;
use futures::FutureExt;
use tokio::sync::{Mutex, Notify, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::base::{Clock, Coded, Millis, Problem, ThreadId};
use crate::runtime::{Activate, CheckpointStore, Engine, Error, Next, Status};

/// How often threads are looked for that are ready and that nobody woke [ms].
const RECONCILE_MS: u64 = 15_000;
/// A ready thread untouched for so long was forgotten [ms].
const STALE_MS: u64 = 10_000;
/// Threads that one look at the store brings.
const BATCH: usize = 1_024;
/// Pause before a store that failed is asked again [ms].
const STORE_RETRY_MS: u64 = 1_000;
/// How often a failing store is tried again before `run_to_rest` gives up.
const RETRIES_MAX: u32 = 5;

/// Wakes threads of one process.
pub struct Local {
    store: Arc<dyn CheckpointStore>,
    clock: Arc<dyn Clock>,
    wakes: mpsc::UnboundedSender<ThreadId>,
    woken: Mutex<mpsc::UnboundedReceiver<ThreadId>>,
    /// For those who wait for one thread without serving all.
    nudge: Notify,
    /// A timer was set from outside.
    replan: Notify,
}

/// Why a thread rests.
#[derive(Debug, Clone, PartialEq)]
pub enum Rest {
    /// Its run is over, or it never had one.
    Over,
    /// It waits for a person.
    Person,
    /// It waits for a signal.
    Signal,
    /// The caller stopped it.
    Stopped,
}

impl Local {
    /// An engine over `store`, by `clock`.
    pub fn new(store: Arc<dyn CheckpointStore>, clock: Arc<dyn Clock>) -> Self {
        let (wakes, woken) = mpsc::unbounded_channel();
        Self {
            store,
            clock,
            wakes,
            woken: Mutex::new(woken),
            nudge: Notify::new(),
            replan: Notify::new(),
        }
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
            let until = match next {
                Next::Dead(problem) => return Err(problem),
                Next::RetryAfter(_, problem) if failures > RETRIES_MAX => return Err(problem),
                _ if stop.is_cancelled() => return Ok(Rest::Stopped),
                Next::Again => continue,
                Next::RetryAfter(pause_ms, _) => self.clock.now().plus(pause_ms),
                Next::Idle => return self.rest(thread).await,
                Next::At(at) => match self.rest(thread).await? {
                    // Its expiry alone would wake it: whoever called can ask the person.
                    Rest::Person => return Ok(Rest::Person),
                    _ => at,
                },
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(Rest::Stopped),
                () = nudged => {}
                () = self.clock.sleep_until(until) => {}
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
        match not_before {
            // What is ready is in the store already: a restart finds it without this.
            None => {
                // The receiver lives in `self`.
                let _ = self.wakes.send(thread.clone());
                self.nudge.notify_waiters();
                Ok(())
            }
            Some(at) => {
                self.store.put_wake(thread, at).await?;
                self.replan.notify_one();
                Ok(())
            }
        }
    }

    async fn serve(
        &self,
        activate: Arc<dyn Activate>,
        stop: CancellationToken,
    ) -> Result<(), Error> {
        let mut woken = self.woken.lock().await;
        let mut desk = Desk::new(activate, stop.clone());
        // Whatever the store does, threads must not be left alone for it.
        while let Err(error) = self.find_ready(&mut desk, Millis(u64::MAX)).await {
            complain(&error);
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                () = self.clock.sleep_ms(STORE_RETRY_MS) => {}
            }
        }
        let mut look_again = self.clock.now().plus(RECONCILE_MS);
        let simulated = self.clock.is_simulated();
        let mut wake = None;
        while !stop.is_cancelled() {
            if std::mem::take(&mut desk.moved) {
                wake = self.earliest(&desk).await.unwrap_or_else(|error| {
                    complain(&error);
                    Some(self.clock.now().plus(STORE_RETRY_MS))
                });
            }
            // Sleeping moves a simulated clock: not while a node is at work in it.
            let may_sleep = wake.is_some() && (!simulated || desk.running.is_empty());
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(thread) = woken.recv() => desk.start(thread),
                () = self.replan.notified() => desk.moved = true,
                Some(done) = desk.running.join_next() => {
                    if let Ok((thread, next)) = done {
                        desk.ended(thread, next, self.clock.now());
                    }
                    desk.moved = true;
                }
                () = self.clock.sleep_until(wake.unwrap_or_default()), if may_sleep => {
                    desk.start_due(self.clock.now());
                    desk.moved = true;
                    if let Err(error) = self.find_due(&mut desk).await {
                        complain(&error);
                        desk.moved = false;
                        wake = Some(self.clock.now().plus(STORE_RETRY_MS));
                    }
                }
                () = self.clock.sleep_until(look_again), if !simulated => {
                    let now = self.clock.now();
                    look_again = now.plus(RECONCILE_MS);
                    let stale = Millis(now.0.saturating_sub(STALE_MS));
                    if let Err(error) = self.find_ready(&mut desk, stale).await {
                        complain(&error);
                        look_again = now.plus(STORE_RETRY_MS);
                    }
                }
            }
        }
        while desk.running.join_next().await.is_some() {}
        Ok(())
    }
}

impl Local {
    /// Threads that are ready since before `older` and due ones: those that a crash or a lost wake left behind.
    async fn find_ready(&self, desk: &mut Desk, older: Millis) -> Result<(), Error> {
        for thread in self.store.stale_ready(older, BATCH).await? {
            desk.start(thread);
        }
        self.find_due(desk).await
    }

    /// Threads whose timer has rung.
    async fn find_due(&self, desk: &mut Desk) -> Result<(), Error> {
        for thread in self.store.due(self.clock.now(), BATCH).await? {
            desk.start(thread);
        }
        Ok(())
    }

    /// The earliest moment at which a thread that is not at work wants to be woken.
    async fn earliest(&self, desk: &Desk) -> Result<Option<Millis>, Error> {
        let retry = desk.later.first().map(|(at, _)| *at);
        let now = self.clock.now();
        let timer = match self.store.next_wake().await? {
            // Due, and at work already: what it does next will be heard when it ends.
            Some(at) if at <= now && !desk.busy.is_empty() => self.next_idle(desk, now).await?,
            timer => timer,
        };
        Ok([retry, timer].into_iter().flatten().min())
    }

    async fn next_idle(&self, desk: &Desk, now: Millis) -> Result<Option<Millis>, Error> {
        let due = self.store.due(now, BATCH).await?;
        Ok(due.iter().any(|thread| !desk.busy.contains_key(thread)).then_some(now))
    }
}

/// What is at work, and what comes after.
struct Desk {
    activate: Arc<dyn Activate>,
    stop: CancellationToken,
    running: JoinSet<(ThreadId, Next)>,
    /// At work; true: woken again meanwhile.
    busy: HashMap<ThreadId, bool>,
    /// To be tried again after a failure of the store.
    later: BTreeSet<(Millis, ThreadId)>,
    dead: HashSet<ThreadId>,
    /// Timers may have changed since the store was asked for the earliest.
    moved: bool,
}

impl Desk {
    fn new(activate: Arc<dyn Activate>, stop: CancellationToken) -> Self {
        Self {
            activate,
            stop,
            running: JoinSet::new(),
            busy: HashMap::new(),
            later: BTreeSet::new(),
            dead: HashSet::new(),
            moved: true,
        }
    }

    fn start(&mut self, thread: ThreadId) {
        if self.dead.contains(&thread) {
            return;
        }
        if let Some(again) = self.busy.get_mut(&thread) {
            *again = true;
            return;
        }
        self.busy.insert(thread.clone(), false);
        let (activate, stop) = (self.activate.clone(), self.stop.clone());
        self.running.spawn(async move {
            let work = AssertUnwindSafe(activate.activate(&thread, &stop)).catch_unwind();
            let next = work.await.unwrap_or_else(|_| Next::Dead(panicked()));
            (thread, next)
        });
    }

    fn ended(&mut self, thread: ThreadId, next: Next, now: Millis) {
        let again = self.busy.remove(&thread).unwrap_or(false);
        match next {
            Next::Dead(problem) => {
                tracing::error!(thread = %thread, code = problem.code, "{problem}");
                self.dead.insert(thread);
            }
            Next::RetryAfter(pause_ms, problem) => {
                tracing::warn!(thread = %thread, code = problem.code, "{problem}");
                self.later.insert((now.plus(pause_ms), thread));
            }
            Next::Again => self.start(thread),
            // Its timer is in the store.
            Next::Idle | Next::At(_) if again => self.start(thread),
            Next::Idle | Next::At(_) => {}
        }
    }

    fn start_due(&mut self, now: Millis) {
        while let Some((at, thread)) = self.later.first().cloned() {
            if at > now {
                return;
            }
            self.later.remove(&(at, thread.clone()));
            self.start(thread);
        }
    }
}

fn complain(error: &Error) {
    tracing::warn!(code = error.code(), "threads are looked for again in a moment: {error}");
}

fn panicked() -> Problem {
    Problem {
        code: "engine.activation_panicked".to_owned(),
        message: "the runtime panicked on this thread".to_owned(),
        hint: "this is a defect: report it; the thread is tried again after a restart".to_owned(),
    }
}
