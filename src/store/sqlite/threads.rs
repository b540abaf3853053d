//! The threads that own connections: one writer that group-commits, a few readers.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::statements::Sql;
use crate::store::Error;

/// Writes in one transaction at most.
const GROUP_MAX: usize = 512;
/// Bytes in one transaction at most, roughly.
const GROUP_BYTES_MAX: usize = 1 << 20;
/// Writes that may queue before callers have to wait.
const QUEUE: usize = 1_024;

type Answer = Box<dyn FnOnce(Result<(), Error>) + Send>;
type Job =
    Box<dyn FnOnce(Result<&mut Sql<'_>, Error>, &Path) -> (Result<(), Error>, Answer) + Send>;

struct Item {
    bytes: usize,
    job: Job,
}

/// A thread with a connection, and the way to it.
pub(super) struct Worker {
    queue: Option<mpsc::Sender<Item>>,
    thread: Option<JoinHandle<()>>,
}

/// Readers, taken in turn.
pub(super) struct Readers {
    workers: Vec<Worker>,
    next: AtomicUsize,
}

impl Worker {
    /// The writer: groups what queued while the last group was being synced into one transaction.
    pub(super) fn writer(connection: Connection, path: Arc<PathBuf>) -> Result<Self, Error> {
        Self::spawn("store-writer", connection, path, write_loop)
    }

    fn reader(connection: Connection, path: Arc<PathBuf>) -> Result<Self, Error> {
        Self::spawn("store-reader", connection, path, read_loop)
    }

    fn spawn(
        name: &str,
        connection: Connection,
        path: Arc<PathBuf>,
        work: fn(&Connection, &Path, mpsc::Receiver<Item>),
    ) -> Result<Self, Error> {
        let (queue, jobs) = mpsc::channel(QUEUE);
        let io = |error: std::io::Error| Error::Io {
            path: path.to_path_buf(),
            reason: format!("no thread for it: {error}"),
        };
        let at = path.clone();
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || work(&connection, &at, jobs))
            .map_err(io)?;
        Ok(Self { queue: Some(queue), thread: Some(thread) })
    }

    /// Runs `op` on the connection; a write is durable when this returns.
    pub(super) async fn call<T: Send + 'static>(
        &self,
        bytes: usize,
        op: impl FnOnce(&mut Sql<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let (tell, told) = oneshot::channel();
        let job = move |sql: Result<&mut Sql<'_>, Error>, path: &Path| {
            let ran = sql.and_then(|sql| op(sql).map_err(|error| Error::from_sqlite(path, &error)));
            let (outcome, value) = match ran {
                Ok(value) => (Ok(()), Some(value)),
                Err(error) => (Err(error), None),
            };
            let answer = move |outcome: Result<(), Error>| {
                let answer = outcome.and_then(|()| value.ok_or(Error::Closed));
                // The caller may have gone; what was written stays written.
                let _ = tell.send(answer);
            };
            (outcome, Box::new(answer) as Answer)
        };
        let item = Item { bytes, job: Box::new(job) };
        let queue = self.queue.as_ref().ok_or(Error::Closed)?;
        queue.send(item).await.map_err(|_| Error::Closed)?;
        told.await.map_err(|_| Error::Closed)?
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.queue.take();
        if let Some(thread) = self.thread.take() {
            // It ends once the queue is drained; a panic there has been reported already.
            let _ = thread.join();
        }
    }
}

impl Readers {
    pub(super) fn new(connections: Vec<Connection>, path: &Arc<PathBuf>) -> Result<Self, Error> {
        let workers = connections
            .into_iter()
            .map(|connection| Worker::reader(connection, path.clone()))
            .collect::<Result<_, _>>()?;
        Ok(Self { workers, next: AtomicUsize::new(0) })
    }

    /// Runs `op` in a snapshot.
    pub(super) async fn call<T: Send + 'static>(
        &self,
        op: impl FnOnce(&mut Sql<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.workers.len().max(1);
        self.workers.get(turn).ok_or(Error::Closed)?.call(0, op).await
    }
}

fn write_loop(connection: &Connection, path: &Path, mut jobs: mpsc::Receiver<Item>) {
    let mut sql = Sql::new(connection);
    let mut group: Vec<Item> = Vec::with_capacity(GROUP_MAX);
    while let Some(first) = jobs.blocking_recv() {
        let mut bytes = first.bytes;
        group.push(first);
        while group.len() < GROUP_MAX && bytes < GROUP_BYTES_MAX {
            let Ok(item) = jobs.try_recv() else { break };
            bytes += item.bytes;
            group.push(item);
        }
        write_group(&mut sql, path, group.drain(..));
    }
}

/// One transaction. A write that fails is taken back alone; a commit that fails fails them all.
fn write_group(sql: &mut Sql<'_>, path: &Path, group: impl Iterator<Item = Item>) {
    let begun = sql.run("BEGIN IMMEDIATE", []).map_err(|error| Error::from_sqlite(path, &error));
    let mut lost: Option<Error> = begun.err();
    let mut answers: Vec<(Result<(), Error>, Answer)> = Vec::new();
    for item in group {
        let (outcome, answer) = write_one(sql, path, lost.as_ref(), item.job);
        if lost.is_none() && sql.is_idle() {
            // SQLite gave the whole transaction up: nothing before this is written either.
            lost = Some(outcome.clone().err().unwrap_or(Error::Closed));
        }
        answers.push((outcome, answer));
    }
    if lost.is_none()
        && let Err(error) = sql.run("COMMIT", [])
    {
        lost = Some(Error::from_sqlite(path, &error));
        if !sql.is_idle() {
            // What cannot be committed is taken back, so that the next group starts clean.
            let _ = sql.run("ROLLBACK", []);
        }
    }
    for (outcome, answer) in answers {
        answer(match &lost {
            Some(error) => Err(error.clone()),
            None => outcome,
        });
    }
}

/// One write under its own savepoint; not run at all once the transaction is `lost`.
fn write_one(
    sql: &mut Sql<'_>,
    path: &Path,
    lost: Option<&Error>,
    job: Job,
) -> (Result<(), Error>, Answer) {
    if let Some(error) = lost {
        return job(Err(error.clone()), path);
    }
    if let Err(error) = sql.run("SAVEPOINT item", []) {
        return job(Err(Error::from_sqlite(path, &error)), path);
    }
    let (outcome, answer) = job(Ok(&mut *sql), path);
    let ended = match &outcome {
        Ok(()) => sql.run("RELEASE item", []),
        Err(_) if sql.is_idle() => Ok(0),
        Err(_) => sql.run("ROLLBACK TO item", []).and_then(|_| sql.run("RELEASE item", [])),
    };
    let ended = ended.map_err(|error| Error::from_sqlite(path, &error));
    (outcome.and(ended.map(|_| ())), answer)
}

fn read_loop(connection: &Connection, path: &Path, mut jobs: mpsc::Receiver<Item>) {
    let mut sql = Sql::new(connection);
    while let Some(item) = jobs.blocking_recv() {
        let begun = sql.run("BEGIN DEFERRED", []).map_err(|error| Error::from_sqlite(path, &error));
        let (outcome, answer) = (item.job)(begun.map(|_| &mut sql), path);
        let ended = if sql.is_idle() { Ok(0) } else { sql.run("COMMIT", []) };
        let ended = ended.map_err(|error| Error::from_sqlite(path, &error));
        answer(outcome.and(ended.map(|_| ())));
    }
}
