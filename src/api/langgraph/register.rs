//! The register: records of threads and runs on the store's shelf, and who works on what in this process.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use super::follow::Outcome;
use super::record::{RunRecord, ThreadRecord};
use super::refusal::Refusal;
use crate::agent::{Agent, THREAD_RECORDS as THREADS, run_records as runs};
use crate::base::{Clock, Millis, Problem, RunId, SeededRng, SystemClock, ThreadId, stable_hash};

/// Threads can be changed side by side, one thread cannot: so many locks, shared by hash.
const LOCKS: usize = 64;
/// More documents than any collection has.
const ALL: usize = 1 << 40;

/// How a run that is followed ends.
pub(super) type Following = watch::Receiver<Option<Outcome>>;

/// What the handlers of LangGraph's protocol share.
pub(in crate::api) struct Register {
    locks: Vec<tokio::sync::Mutex<()>>,
    /// Runs that this process follows, and how they end once that is written down.
    followed: Mutex<HashMap<RunId, Following>>,
    /// A run that was put off has been cancelled.
    pub(super) recalled: tokio::sync::Notify,
    /// A cron has changed.
    pub(super) crons: tokio::sync::Notify,
    /// Webhooks that are being called, or will be.
    pub(super) calls: TaskTracker,
    rng: Mutex<SeededRng>,
    url: OnceLock<String>,
    /// Tells this process from those before it.
    name: String,
}

impl Register {
    /// A register of nothing, for a server whose address is not known yet.
    pub(in crate::api) fn new() -> Self {
        let pid = std::process::id().to_string();
        let seed = stable_hash(&["register", &SystemClock.now().0.to_string(), &pid]);
        let number = u64::from_str_radix(&seed[..16], 16).unwrap_or(0);
        Self {
            locks: (0..LOCKS).map(|_| tokio::sync::Mutex::new(())).collect(),
            followed: Mutex::default(),
            recalled: tokio::sync::Notify::new(),
            crons: tokio::sync::Notify::new(),
            calls: TaskTracker::new(),
            rng: Mutex::new(SeededRng::stream(number, "langgraph ids")),
            url: OnceLock::new(),
            name: seed,
        }
    }

    /// Returns when no webhook is being called any more: those that are not due are left to the next server.
    pub(in crate::api) async fn quiet(&self, limit: Duration) {
        self.calls.close();
        let _ = tokio::time::timeout(limit, self.calls.wait()).await;
    }

    /// Where the server answers.
    pub(in crate::api) fn set_url(&self, url: String) {
        let _ = self.url.set(url);
    }

    /// Tells this process from those before it.
    pub(in crate::api) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn url(&self) -> &str {
        self.url.get().map_or("", String::as_str)
    }

    /// A fresh id.
    pub(super) fn fresh_id(&self) -> String {
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        RunId::fresh(SystemClock.now(), &mut *rng).0
    }

    /// Holds what is kept of a thread against others who want to change it.
    pub(super) async fn lock(&self, thread: &ThreadId) -> tokio::sync::MutexGuard<'_, ()> {
        let mut hash = DefaultHasher::new();
        thread.hash(&mut hash);
        let index = usize::try_from(hash.finish() % LOCKS as u64).unwrap_or(0);
        self.locks[index].lock().await
    }

    /// Notes that this process follows `run`.
    pub(super) fn follow(&self, run: &RunId, outcome: Following) {
        self.followed().insert(run.clone(), outcome);
    }

    /// `run` has ended.
    pub(super) fn leave(&self, run: &RunId) {
        self.followed().remove(run);
    }

    /// How `run` ends; `None`: nobody follows it here.
    pub(super) fn following(&self, run: &RunId) -> Option<Following> {
        self.followed().get(run).cloned()
    }

    fn followed(&self) -> MutexGuard<'_, HashMap<RunId, Following>> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits until a run has ended and that is written down; `None`: the server stops before.
pub(super) async fn ended(mut following: Following) -> Option<Outcome> {
    let seen = following.wait_for(Option::is_some).await.ok()?;
    seen.clone()
}

/// Reads a document as a record.
pub(super) async fn read<T: DeserializeOwned>(
    agent: &Agent,
    collection: &str,
    key: &str,
) -> Result<Option<T>, Refusal> {
    let document = agent.documents().get(collection, key).await?;
    document.map(|document| typed(document.value)).transpose()
}

/// Reads a document as a record, with its version.
pub(super) async fn read_version<T: DeserializeOwned>(
    agent: &Agent,
    collection: &str,
    key: &str,
) -> Result<Option<(T, u64)>, Refusal> {
    let document = agent.documents().get(collection, key).await?;
    document.map(|document| Ok((typed(document.value)?, document.version))).transpose()
}

/// Writes a record over its version `expected`; 0 creates. `false`: another version is there, and nothing was written.
pub(super) async fn write_over<T: Serialize>(
    agent: &Agent,
    collection: &str,
    key: &str,
    expected: u64,
    record: &T,
) -> Result<bool, Refusal> {
    let put = agent.documents().put(collection, key, Some(expected), json!(record)).await?;
    Ok(put.is_some())
}

/// Reads every record of a collection, the one written last first.
pub(super) async fn read_all<T: DeserializeOwned>(
    agent: &Agent,
    collection: &str,
) -> Result<Vec<T>, Refusal> {
    let documents = agent.documents().list(collection, ALL).await?;
    documents.into_iter().map(|document| typed(document.value)).collect()
}

/// Writes a record.
pub(super) async fn write<T: Serialize>(
    agent: &Agent,
    collection: &str,
    key: &str,
    record: &T,
) -> Result<(), Refusal> {
    agent.documents().put(collection, key, None, json!(record)).await?;
    Ok(())
}

fn typed<T: DeserializeOwned>(value: Value) -> Result<T, Refusal> {
    serde_json::from_value(value).map_err(|error| {
        Refusal::from(Problem {
            code: "store.corrupt".to_owned(),
            message: format!("a record cannot be read: {error}"),
            hint: "was it written by a newer version?".to_owned(),
        })
    })
}

/// What is kept of a thread; one that was made elsewhere gets a record of what is known.
///
/// Errors: there is no such thread.
pub(super) async fn thread(agent: &Agent, thread: &ThreadId) -> Result<ThreadRecord, Refusal> {
    if let Some(record) = read(agent, THREADS, thread.as_str()).await? {
        return Ok(record);
    }
    let state = agent.look(thread).await?;
    Ok(ThreadRecord::foreign(thread.clone(), state.as_ref()))
}

/// Every thread that is not temporary, wherever it was made. One that was forgotten while its record is still there is gone.
pub(super) async fn threads(agent: &Agent) -> Result<Vec<ThreadRecord>, Refusal> {
    let mut records: Vec<ThreadRecord> = read_all(agent, THREADS).await?;
    let mut there = agent.known_threads().await?;
    // What remains there has no record.
    records.retain(|record| there.remove(&record.thread) && !record.temporary);
    for thread in there {
        let Ok(Some(state)) = agent.look(&thread).await else { continue };
        records.push(ThreadRecord::foreign(thread, Some(&state)));
    }
    Ok(records)
}

/// Threads with runs that have not ended, and temporary ones.
pub(super) async fn unfinished(agent: &Agent) -> Result<Vec<ThreadRecord>, Refusal> {
    let mut records: Vec<ThreadRecord> = read_all(agent, THREADS).await?;
    records.retain(|record| !record.open.is_empty() || record.temporary);
    Ok(records)
}

/// Writes down what is kept of a thread.
pub(super) async fn put_thread(agent: &Agent, record: &ThreadRecord) -> Result<(), Refusal> {
    write(agent, THREADS, record.thread.as_str(), record).await
}

/// What is kept of a run.
///
/// Errors: there is no such run.
pub(super) async fn run(agent: &Agent, thread: &ThreadId, run: &str) -> Result<RunRecord, Refusal> {
    let record = read(agent, &runs(thread), run).await?;
    record.ok_or_else(|| Refusal::no_run(run))
}

/// The runs of a thread, the newest first.
pub(super) async fn runs_of(agent: &Agent, thread: &ThreadId) -> Result<Vec<RunRecord>, Refusal> {
    let mut records: Vec<RunRecord> = read_all(agent, &runs(thread)).await?;
    records.sort_by(|a, b| (b.created, &b.id).cmp(&(a.created, &a.id)));
    Ok(records)
}

/// Writes down what is kept of a run.
pub(super) async fn put_run(agent: &Agent, record: &RunRecord) -> Result<(), Refusal> {
    write(agent, &runs(&record.thread), record.id.as_str(), record).await
}

/// Forgets a run.
pub(super) async fn remove_run(
    agent: &Agent,
    thread: &ThreadId,
    run: &RunId,
) -> Result<(), Refusal> {
    agent.documents().remove(&runs(thread), run.as_str()).await?;
    Ok(())
}

/// Forgets a thread with its runs.
///
/// Errors: a thread at work.
pub(super) async fn remove_thread(agent: &Agent, thread: &ThreadId) -> Result<(), Refusal> {
    match agent.forget(thread).await {
        Ok(()) | Err(crate::agent::Error::UnknownThread(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// This moment.
pub(super) fn now() -> Millis {
    SystemClock.now()
}
