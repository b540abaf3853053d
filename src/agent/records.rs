//! What edges keep of threads beside their checkpoints, under names that both sides know: it goes when its thread goes.

use std::collections::HashSet;

use serde_json::Value;

use super::door::{CREATED, STARTED};
use super::{Agent, Error, Forgotten};
use crate::base::{Millis, ThreadId};
use crate::runtime::Retention;

/// Collection of what callers said of threads, by thread; `open` are runs that have not ended, `temporary` goes with its run.
pub const THREAD_RECORDS: &str = "langgraph.threads";
/// Collection of runs that are started again and again; `thread` is the one they run on.
pub const CRON_RECORDS: &str = "langgraph.crons";

/// Collection of the runs of a thread.
pub fn run_records(thread: &ThreadId) -> String {
    format!("langgraph.runs/{thread}")
}

/// More documents than any collection has.
const ALL: usize = 1 << 40;
/// Ids of threads that are read at a time.
const PAGE: usize = 1_000;
/// A day [ms].
const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

impl Agent {
    /// Forgets a thread with all that is kept of it.
    ///
    /// Errors: [`Error::UnknownThread`]; a thread at work: cancel it first.
    pub async fn forget(&self, thread: &ThreadId) -> Result<(), Error> {
        let deleted = self.delete(thread).await;
        // Where the thread is gone already, its records may not be.
        if matches!(deleted, Ok(()) | Err(Error::UnknownThread(_))) {
            self.forget_records(thread).await?;
        }
        deleted
    }

    /// Forgets what the config's `retention` does not keep of finished threads, and remembered answers whose time is over.
    /// A thread on which a run was put off, or is started again and again, stays.
    pub async fn retain(&self) -> Result<Forgotten, Error> {
        let rule = self.settings().config.retention;
        let now = self.clock().now();
        // A simulated fleet has a calendar of its own: there nothing ages by itself.
        let is_simulated = self.is_simulated();
        let days = rule.days_max.filter(|_| !is_simulated);
        let retention = Retention {
            checkpoints_max: rule.checkpoints_max,
            events_max: rule.events_max,
            threads_max: rule.threads_max,
            finished_before: days
                .map(|days| Millis(now.0.saturating_sub(days.saturating_mul(DAY_MS)))),
            answers_until: (!is_simulated).then_some(now),
            spared: match rule.threads_max.is_some() || days.is_some() {
                true => self.awaited().await?,
                false => HashSet::new(),
            },
        };
        let store = &self.parts().store;
        let forgotten = store.checkpoints.retain(&retention).await.map_err(Error::Run)?;
        for thread in &forgotten.threads {
            for collection in [CREATED, STARTED] {
                let gone = store.documents.remove(collection, thread.as_str()).await;
                gone.map_err(Error::Run)?;
            }
            self.forget_records(thread).await?;
        }
        Ok(forgotten)
    }

    /// Every thread there is, whether anything ran on it or not.
    pub async fn known_threads(&self) -> Result<HashSet<ThreadId>, Error> {
        let mut known: HashSet<ThreadId> = self.thread_ids().await?.into_iter().collect();
        for collection in [CREATED, STARTED] {
            let made = self.documents().list(collection, ALL).await.map_err(Error::Run)?;
            // What was forgotten is null.
            let made = made.into_iter().filter(|document| !document.value.is_null());
            known.extend(made.map(|document| ThreadId(document.key)));
        }
        Ok(known)
    }

    /// Every thread on which something ran or waits, in the order of their ids.
    pub(super) async fn thread_ids(&self) -> Result<Vec<ThreadId>, Error> {
        let mut ids: Vec<ThreadId> = Vec::new();
        loop {
            let page = self.parts().store.checkpoints.thread_ids(ids.last(), PAGE).await;
            let page = page.map_err(Error::Run)?;
            let is_last = page.len() < PAGE;
            ids.extend(page);
            if is_last {
                return Ok(ids);
            }
        }
    }

    /// Forgets records whose threads are gone: a crash came between the two.
    pub(super) async fn forget_ghosts(&self) -> Result<(), Error> {
        let records = self.documents().list(THREAD_RECORDS, ALL).await.map_err(Error::Run)?;
        if records.is_empty() {
            return Ok(());
        }
        let known = self.known_threads().await?;
        for record in records {
            let thread = ThreadId(record.key);
            if !known.contains(&thread) && !is_awaited(&record.value) {
                self.forget_records(&thread).await?;
            }
        }
        Ok(())
    }

    /// Threads that somebody counts on though nothing goes on there.
    async fn awaited(&self) -> Result<HashSet<ThreadId>, Error> {
        let records = self.documents().list(THREAD_RECORDS, ALL).await.map_err(Error::Run)?;
        let open = records.into_iter().filter(|record| is_awaited(&record.value));
        let mut awaited: HashSet<ThreadId> = open.map(|record| ThreadId(record.key)).collect();
        let crons = self.documents().list(CRON_RECORDS, ALL).await.map_err(Error::Run)?;
        let theirs = crons.iter().filter_map(|cron| cron.value["thread"].as_str());
        awaited.extend(theirs.map(|thread| ThreadId(thread.to_owned())));
        Ok(awaited)
    }

    async fn forget_records(&self, thread: &ThreadId) -> Result<(), Error> {
        let (documents, runs) = (self.documents(), run_records(thread));
        for run in documents.list(&runs, ALL).await.map_err(Error::Run)? {
            documents.remove(&runs, &run.key).await.map_err(Error::Run)?;
        }
        documents.remove(THREAD_RECORDS, thread.as_str()).await.map_err(Error::Run)?;
        Ok(())
    }
}

/// Whether a record of a thread says that a run of it has not ended, or will take the thread with it.
fn is_awaited(record: &Value) -> bool {
    let open = record["open"].as_array().is_some_and(|open| !open.is_empty());
    open || record["temporary"] == true
}
