//! Runs threads in the background, woken by the engine, and tells whoever watches one when it rests.
//!
//! They work on threads of their own, so that a search that keeps a core busy for seconds does not keep the caller
//! from answering. A simulated fleet gets one worker: its world then has one history.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::door::STORE_RETRY_MS;
use super::{Agent, Error, Forgotten, Journal, JournalEntry};
use crate::base::{Coded, Millis, Problem, RunId, ThreadId};
use crate::runtime::{Activate, Engine, Next, ThreadStatus};

/// Pause between two looks for what may be forgotten.
const HOUSEKEEPING: Duration = Duration::from_secs(3_600);

/// The drivers of one agent.
#[derive(Clone)]
pub struct Drivers {
    shared: Arc<Shared>,
}

struct Shared {
    agent: Agent,
    workers: Option<tokio::runtime::Runtime>,
    tasks: TaskTracker,
    stop: CancellationToken,
    at_work: Mutex<HashMap<ThreadId, Work>>,
}

/// A thread from the moment it is woken until it rests.
struct Work {
    /// Woken since its activation began: there comes another one.
    again: bool,
    /// When the first activation of this stretch began.
    began: Option<Millis>,
    /// Closed when the thread rests; holds why it cannot go on, if so.
    resting: watch::Sender<Option<Problem>>,
}

/// A run as it happens.
pub struct Watch {
    journal: Journal,
    run: RunId,
    rest: watch::Receiver<Option<Problem>>,
    stop: CancellationToken,
    rested: bool,
}

/// What a watch saw.
#[derive(Debug)]
pub enum Seen {
    /// An entry of the journal that belongs to the run.
    Entry(JournalEntry),
    /// The run is over, or waits for a person or for something from outside.
    Rested,
    /// The thread cannot go on.
    Failed(Problem),
    /// The drivers were stopped: the run goes on after a restart.
    Stopped,
}

impl Drivers {
    /// Drivers for `agent`. What an earlier process of the same world left unfinished goes on.
    ///
    /// Errors: no worker could be started; a store that fails.
    pub async fn start(agent: Agent) -> Result<Self, Error> {
        let workers = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(if agent.is_simulated() { 1 } else { 2 })
            .thread_name("driver")
            .enable_all()
            .build()
            .map_err(|source| Error::Io { what: "starting the drivers".to_owned(), source })?;
        let shared = Shared {
            agent,
            workers: Some(workers),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            at_work: Mutex::default(),
        };
        let drivers = Self { shared: Arc::new(shared) };
        // Before anybody can make a thread of a name that was forgotten.
        drivers.shared.agent.forget_ghosts().await?;
        drivers.shared.keep_house();
        drivers.shared.serve();
        Ok(drivers)
    }

    /// The agent.
    pub fn agent(&self) -> &Agent {
        &self.shared.agent
    }

    /// How many threads are being worked on.
    pub fn at_work(&self) -> usize {
        self.shared.at_work().len()
    }

    /// Runs `thread` until it rests, unless that is being done already; then it is looked at once more at the end.
    pub fn wake(&self, thread: &ThreadId) {
        self.shared.wake(thread);
    }

    /// Lets every thread look again that is not over: what it waits for may have changed.
    ///
    /// Errors: a store that fails.
    pub async fn wake_unfinished(&self) -> Result<(), Error> {
        for thread in self.shared.agent.unfinished().await? {
            self.wake(&thread);
        }
        Ok(())
    }

    /// The thread's journal from its end on: open it before the run is started, so that nothing is missed.
    ///
    /// Errors: a store that fails.
    pub async fn journal_end(&self, thread: &ThreadId) -> Result<Journal, Error> {
        let mut journal = self.shared.agent.follow(thread, 0);
        while journal.try_next().await?.is_some() {}
        Ok(journal)
    }

    /// Wakes `thread` and watches `run` from where `journal` stands.
    pub fn watch(&self, thread: &ThreadId, run: RunId, journal: Journal) -> Watch {
        let rest = self.shared.wake(thread);
        Watch { journal, run, rest, stop: self.shared.stop.clone(), rested: false }
    }

    /// Returns when the drivers are told to stop.
    pub async fn stopped(&self) {
        self.shared.stop.cancelled().await;
    }

    /// Lets every driver end its superstep, at most `limit` long. Returns how many were left.
    pub async fn drain(&self, limit: Duration) -> usize {
        self.shared.stop.cancel();
        self.shared.tasks.close();
        let _ = tokio::time::timeout(limit, self.shared.tasks.wait()).await;
        self.shared.tasks.len()
    }
}

impl Shared {
    fn wake(&self, thread: &ThreadId) -> watch::Receiver<Option<Problem>> {
        let rest = {
            let mut at_work = self.at_work();
            let work = at_work.entry(thread.clone()).or_insert_with(Work::new);
            work.again = true;
            work.resting.subscribe()
        };
        self.agent.engine().call(thread);
        rest
    }

    /// Lets the engine activate threads until the stop: those that are woken, and those that an earlier process left.
    fn serve(self: &Arc<Self>) {
        let Some(workers) = &self.workers else { return };
        let shared = self.clone();
        let serve = async move {
            let engine = shared.agent.engine().clone();
            if let Err(error) = engine.serve(shared.clone(), shared.stop.clone()).await {
                tracing::error!(code = error.code(), "threads are not woken any more: {error}");
            }
            let asleep: Vec<ThreadId> = shared.at_work().keys().cloned().collect();
            for thread in asleep {
                shared.rest(&thread, None).await;
            }
        };
        self.tasks.spawn_on(serve, workers.handle());
    }

    /// The place of a thread that is to be activated. `None`: it is not this agent's.
    async fn seat<'a>(&'a self, thread: &'a ThreadId) -> Result<Option<Seat<'a>>, Error> {
        let is_known = self.at_work().contains_key(thread);
        if !is_known && !self.agent.is_own(thread).await? {
            return Ok(None);
        }
        let began = {
            let mut at_work = self.at_work();
            let work = at_work.entry(thread.clone()).or_insert_with(Work::new);
            work.again = false;
            work.began
        };
        let seat = Seat { shared: self, thread };
        if began.is_none() {
            let began = self.agent.sit_down().await?;
            if let Some(work) = self.at_work().get_mut(thread) {
                work.began = Some(began);
            }
        }
        Ok(Some(seat))
    }

    /// Whether nothing happens to the thread by itself any more, as far as those are concerned who watch it.
    async fn is_at_rest(&self, thread: &ThreadId, next: &Next) -> Result<bool, Error> {
        match next {
            Next::Idle | Next::Held | Next::Dead(_) => Ok(true),
            Next::Again | Next::RetryAfter(..) => Ok(false),
            // A question that expires some day: a person is asked now.
            Next::At(_) => Ok(self.agent.state(thread).await?.status == ThreadStatus::Interrupted),
        }
    }

    /// The thread rests: its watchers learn it, unless it was woken meanwhile.
    async fn rest(&self, thread: &ThreadId, problem: Option<Problem>) {
        let began = self.at_work().get_mut(thread).and_then(|work| work.began.take());
        if let Some(began) = began {
            match self.agent.get_up(thread, began).await {
                // It was deleted as soon as its run was over, as those of stateless runs are.
                Ok(()) | Err(Error::UnknownThread(_)) => {}
                Err(error) => {
                    tracing::warn!(%thread, problem = %error.problem(), "the time a run took is not kept")
                }
            }
        }
        let mut at_work = self.at_work();
        if let (Some(work), Some(problem)) = (at_work.get(thread), problem) {
            work.resting.send_replace(Some(problem));
        }
        if at_work.get(thread).is_some_and(|work| !work.again) {
            at_work.remove(thread);
        }
    }

    /// Forgets finished runs by the config's retention, now and every hour.
    fn keep_house(self: &Arc<Self>) {
        let Some(workers) = &self.workers else { return };
        let shared = self.clone();
        let keep = async move {
            loop {
                match shared.agent.retain().await {
                    Ok(forgotten) if forgotten == Forgotten::default() => {}
                    Ok(forgotten) => tracing::info!(
                        threads = forgotten.threads.len(),
                        checkpoints = forgotten.checkpoints,
                        effects = forgotten.effects,
                        "finished runs were forgotten, as the config says"
                    ),
                    Err(error) => {
                        tracing::error!(problem = %error.problem(), "nothing was forgotten")
                    }
                }
                tokio::select! {
                    () = tokio::time::sleep(HOUSEKEEPING) => {}
                    () = shared.stop.cancelled() => return,
                }
            }
        };
        self.tasks.spawn_on(keep, workers.handle());
    }

    fn at_work(&self) -> MutexGuard<'_, HashMap<ThreadId, Work>> {
        self.at_work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(workers) = self.workers.take() {
            // The last owner may be an async task, which must not wait for threads.
            workers.shutdown_background();
        }
    }
}

#[async_trait]
impl Activate for Shared {
    async fn activate(&self, thread: &ThreadId, stop: &CancellationToken) -> Next {
        let seat = match self.seat(thread).await {
            Ok(Some(seat)) => seat,
            Ok(None) => return Next::Held,
            // The store.
            Err(Error::Run(problem)) => return Next::RetryAfter(STORE_RETRY_MS, problem),
            Err(error) => {
                let problem = error.problem();
                self.rest(thread, Some(problem.clone())).await;
                return Next::Dead(problem);
            }
        };
        let next = self.agent.activate(thread, stop).await;
        let next = match self.is_at_rest(thread, &next).await {
            Ok(false) => next,
            Ok(true) => {
                let problem = match &next {
                    Next::Dead(problem) => Some(problem.clone()),
                    _ => None,
                };
                self.rest(thread, problem).await;
                next
            }
            Err(error) => Next::RetryAfter(STORE_RETRY_MS, error.problem()),
        };
        drop(seat);
        next
    }
}

impl Work {
    fn new() -> Self {
        Self { again: false, began: None, resting: watch::Sender::new(None) }
    }
}

/// The place of a thread among those at work while it is activated.
struct Seat<'a> {
    shared: &'a Shared,
    thread: &'a ThreadId,
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        // Nobody would tell its watchers otherwise; the next wake finds the place free.
        if std::thread::panicking() {
            self.shared.at_work().remove(self.thread);
        }
    }
}

impl Watch {
    /// The run that is watched.
    pub fn run(&self) -> &RunId {
        &self.run
    }

    /// What happens next. After anything but an entry, the watch is over.
    ///
    /// Errors: a store that fails.
    pub async fn next(&mut self) -> Result<Seen, Error> {
        loop {
            if self.rested {
                return self.rest().await;
            }
            tokio::select! {
                biased;
                entry = self.journal.next() => {
                    let entry = entry?;
                    if entry.run == self.run {
                        return Ok(Seen::Entry(entry));
                    }
                }
                () = closed(self.rest.clone()) => self.rested = true,
                () = self.stop.cancelled() => return Ok(Seen::Stopped),
            }
        }
    }

    /// What is left in the journal of a thread that rests, then why it rests.
    async fn rest(&mut self) -> Result<Seen, Error> {
        while let Some(entry) = self.journal.try_next().await? {
            if entry.run == self.run {
                return Ok(Seen::Entry(entry));
            }
        }
        let problem = self.rest.borrow().clone();
        Ok(problem.map_or(Seen::Rested, Seen::Failed))
    }
}

/// Returns when the other end is gone.
async fn closed(mut rest: watch::Receiver<Option<Problem>>) {
    while rest.changed().await.is_ok() {}
}
