//! Runs threads in the background: one driver per thread, whoever asks and however often.
//!
//! Drivers work on threads of their own, so that a search that keeps a core busy for seconds does not keep the caller
//! from answering. A simulated fleet gets one worker: its world then has one history.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Agent, Error, Forgotten, Journal, JournalEntry};
use crate::base::{Coded, Problem, RunId, ThreadId};

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
    at_work: Mutex<HashMap<ThreadId, Driver>>,
}

struct Driver {
    /// Woken while it worked: it looks once more before it leaves.
    again: bool,
    /// Closed when the thread rests; holds why it cannot go on, if so.
    rest: watch::Receiver<Option<Problem>>,
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
        for thread in drivers.shared.agent.unfinished().await? {
            tracing::info!(%thread, "goes on where an earlier process left it");
            drivers.wake(&thread);
        }
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

    /// Runs `thread` until it rests, unless that is being done already; then the driver looks once more at the end.
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
    fn wake(self: &Arc<Self>, thread: &ThreadId) -> watch::Receiver<Option<Problem>> {
        let mut at_work = self.at_work();
        if let Some(driver) = at_work.get_mut(thread) {
            driver.again = true;
            return driver.rest.clone();
        }
        let (resting, rest) = watch::channel(None);
        if let Some(workers) = &self.workers {
            at_work.insert(thread.clone(), Driver { again: false, rest: rest.clone() });
            let work = self.clone().drive(thread.clone(), resting);
            self.tasks.spawn_on(work, workers.handle());
        }
        rest
    }

    async fn drive(self: Arc<Self>, thread: ThreadId, resting: watch::Sender<Option<Problem>>) {
        // Whatever ends this task, a panic in a node too, the next wake finds the seat free.
        let seat = Seat { shared: &self, thread: &thread };
        loop {
            match self.agent.run_to_rest(&thread, &self.stop).await {
                Ok(state) => {
                    if let (Some(at), false) = (state.wake_at, self.agent.is_simulated()) {
                        self.set_alarm(thread.clone(), at);
                    }
                }
                // It was deleted as soon as its run was over, as those of stateless runs are.
                Err(Error::UnknownThread(_)) => {}
                Err(error) => {
                    let problem = error.problem();
                    tracing::error!(%thread, code = problem.code, "{problem}");
                    resting.send_replace(Some(problem));
                }
            }
            if self.stop.is_cancelled() || !seat.called_again() {
                return;
            }
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

    /// A question that nobody answers expires on a real clock. A simulated one must not run ahead of the person.
    fn set_alarm(self: &Arc<Self>, thread: ThreadId, at: crate::base::Millis) {
        let Some(workers) = &self.workers else { return };
        let shared = self.clone();
        let alarm = async move {
            tokio::select! {
                () = shared.agent.clock().sleep_until(at) => { shared.wake(&thread); }
                () = shared.stop.cancelled() => {}
            }
        };
        self.tasks.spawn_on(alarm, workers.handle());
    }

    fn at_work(&self) -> MutexGuard<'_, HashMap<ThreadId, Driver>> {
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

/// The place of a driver among those at work; dropping it leaves.
struct Seat<'a> {
    shared: &'a Shared,
    thread: &'a ThreadId,
}

impl Seat<'_> {
    /// Whether the thread was woken meanwhile; if not, the seat is given up in the same moment.
    fn called_again(&self) -> bool {
        let mut at_work = self.shared.at_work();
        let again =
            at_work.get_mut(self.thread).is_some_and(|driver| std::mem::take(&mut driver.again));
        if !again {
            at_work.remove(self.thread);
        }
        again
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        // After `called_again` said no, another driver may sit here already: only a panic leaves its own entry behind.
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
