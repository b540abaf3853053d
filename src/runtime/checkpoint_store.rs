//! The seam to whatever keeps state: the only truth there is.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;

use super::{Checkpoint, Event, Letter, NewEvent, Posted, TaskResult};
use crate::base::{EffectKey, Millis, Problem, ThreadId};

/// Number of an ownership of a thread: who holds a lower one can write nothing any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Epoch(pub u64);

/// What a new owner finds.
#[derive(Debug, Clone)]
pub struct Opened {
    /// Its epoch.
    pub epoch: Epoch,
    /// The newest checkpoint; `None`: the thread never ran.
    pub head: Option<Arc<Checkpoint>>,
    /// Letters not yet applied, oldest first.
    pub inbox: Vec<Posted>,
    /// Results of finished tasks of the open superstep.
    pub results: Vec<TaskResult>,
}

/// One step of a thread's history, written as a whole or not at all.
#[derive(Debug, Clone)]
pub struct Commit {
    /// The writer's epoch.
    pub epoch: Epoch,
    /// Seq of the checkpoint this one follows; 0: none.
    pub parent_seq: u64,
    /// The new head.
    pub checkpoint: Arc<Checkpoint>,
    /// Channels whose version is new, with what a delta needs.
    pub changed: Vec<Change>,
    /// Journal entries, numbered by the store.
    pub events: Vec<NewEvent>,
    /// Letters this commit applies.
    pub applied: Vec<u64>,
    /// The commit is stale if a letter beyond this one has come: an expiry must not beat an answer.
    pub inbox_read_to: Option<u64>,
    /// What a person said about effects in doubt.
    pub effects: Vec<(EffectKey, Verdict)>,
    /// The superstep is complete: results of its tasks may go.
    pub closes_superstep: bool,
}

/// A channel that a commit changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Channel.
    pub channel: String,
    /// The first so many elements of the list are those of the version before; 0: all is new.
    pub kept: usize,
}

/// What a person said about an effect in doubt.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// It did not happen: it may be tried again.
    NotDone,
    /// It happened, with this result.
    Done(Value),
}

/// What came of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Committed {
    /// Written and durable.
    Committed,
    /// The parent is not the head any more, or a letter has come: read again.
    Stale,
    /// A newer epoch exists: stop.
    Fenced,
}

/// What the ledger knows about an effect.
#[derive(Debug, Clone, PartialEq)]
pub enum Begun {
    /// Nothing: it is noted as begun now.
    Fresh,
    /// It finished, with this result.
    Done(Value),
    /// It was begun and nobody knows how it ended; the policy decides what that means.
    InDoubt,
    /// A newer epoch owns the thread: stop.
    Fenced,
}

/// What came of posting a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PostOutcome {
    /// Durable under this id.
    Accepted(u64),
    /// A letter with the same dedupe key came before: nothing was written.
    Duplicate,
}

/// A thread in a listing.
#[derive(Debug, Clone, PartialEq)]
pub struct ThreadRow {
    /// Thread.
    pub thread: ThreadId,
    /// Its newest checkpoint; `None`: only letters so far.
    pub head: Option<Arc<Checkpoint>>,
}

/// What may be forgotten of threads whose run is over and that have no letters. Open runs are left whole.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retention {
    /// Checkpoints kept of each thread, the newest; `None`: all.
    pub checkpoints_max: Option<usize>,
    /// Journal entries kept of each thread, the newest and as many more as were written together; `None`: all.
    pub events_max: Option<u64>,
    /// Finished threads kept, the ones changed last; `None`: all.
    pub threads_max: Option<usize>,
    /// Finished threads that did not change since before this moment of their own clock go; `None`: none.
    pub finished_before: Option<Millis>,
}

/// What retention came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// Threads that went as a whole.
    pub threads: Vec<ThreadId>,
    /// Checkpoints that went of threads that stay.
    pub checkpoints: u64,
    /// Journal entries that went of threads that stay.
    pub events: u64,
}

/// Keeps threads. Every method that writes is durable when it returns.
///
/// Errors are the store's own, with its codes; they say nothing about the thread.
#[async_trait]
pub trait CheckpointStore: Send + Sync {
    /// Keeps the text of a graph by its hash; the first text stands.
    async fn put_graph(&self, hash: &str, text: &str) -> Result<(), Problem>;
    /// The text of the graph of that hash.
    async fn graph(&self, hash: &str) -> Result<Option<String>, Problem>;

    /// Takes a thread over: its epoch grows by one, which fences the owner before.
    async fn open_epoch(&self, thread: &ThreadId, owner: &str) -> Result<Opened, Problem>;
    /// Appends a checkpoint with all that belongs to it in one transaction, if `parent_seq` and `epoch` still hold.
    async fn commit(&self, commit: Commit) -> Result<Committed, Problem>;
    /// Keeps the result of one finished task of the open superstep, and events. `false`: fenced.
    async fn put_task_writes(
        &self,
        thread: &ThreadId,
        epoch: Epoch,
        result: &TaskResult,
        events: Vec<NewEvent>,
    ) -> Result<bool, Problem>;
    /// Appends to the journal. `false`: fenced.
    async fn append_events(
        &self,
        thread: &ThreadId,
        epoch: Epoch,
        events: Vec<NewEvent>,
    ) -> Result<bool, Problem>;

    /// Notes that a side effect begins, unless it is known.
    async fn effect_begin(
        &self,
        thread: &ThreadId,
        epoch: Epoch,
        key: &EffectKey,
        policy: &str,
    ) -> Result<Begun, Problem>;
    /// Notes how a side effect ended. Not fenced: what happened, happened.
    async fn effect_finish(&self, key: &EffectKey, result: &Value) -> Result<(), Problem>;

    /// Puts a letter in a thread's inbox; a second one with the same `dedupe` key is refused, for ever.
    async fn inbox_push(
        &self,
        thread: &ThreadId,
        letter: &Letter,
        at: Millis,
        dedupe: Option<&str>,
    ) -> Result<PostOutcome, Problem>;
    /// Letters not yet applied, oldest first.
    async fn inbox(&self, thread: &ThreadId) -> Result<Vec<Posted>, Problem>;

    /// Results of finished tasks of the open superstep.
    async fn results(&self, thread: &ThreadId) -> Result<Vec<TaskResult>, Problem>;

    /// The newest checkpoint.
    async fn head(&self, thread: &ThreadId) -> Result<Option<Arc<Checkpoint>>, Problem>;
    /// The checkpoint at `seq`.
    async fn state_at(
        &self,
        thread: &ThreadId,
        seq: u64,
    ) -> Result<Option<Arc<Checkpoint>>, Problem>;
    /// Checkpoints before `before` (`None`: all), newest first.
    async fn history(
        &self,
        thread: &ThreadId,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Arc<Checkpoint>>, Problem>;
    /// Journal entries after `after`, oldest first.
    async fn events(
        &self,
        thread: &ThreadId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Event>, Problem>;
    /// Threads, the one changed last first.
    async fn threads(&self, limit: usize) -> Result<Vec<ThreadRow>, Problem>;

    /// Threads that want to be woken up to `until`, and when; earliest first.
    async fn wakes(&self, until: Millis, limit: usize) -> Result<Vec<(Millis, ThreadId)>, Problem>;
    /// Wakes a thread no later than `at`; the next commit sets its wake anew.
    async fn put_wake(&self, thread: &ThreadId, at: Millis) -> Result<(), Problem>;
    /// Threads with something to do at once (tasks that could run, letters) and untouched since before `older`.
    async fn stale_ready(&self, older: Millis, limit: usize) -> Result<Vec<ThreadId>, Problem>;

    /// Makes `to`, a thread that must not exist, with the history of `from` up to `seq`. `false`: it exists, or `seq` does not.
    ///
    /// Results of finished tasks come along where `seq` is the newest. The journal of `to` begins anew, and letters stay
    /// where they were sent: what happened to `from` did not happen to `to`.
    async fn fork(&self, from: &ThreadId, seq: u64, to: &ThreadId) -> Result<bool, Problem>;
    /// Makes `to`, a thread that must not exist, like `from` is now: a fork at its newest checkpoint.
    /// `false`: `to` exists, or `from` never ran.
    async fn copy(&self, from: &ThreadId, to: &ThreadId) -> Result<bool, Problem> {
        // A commit in between is no harm: the copy is of the moment before it.
        match self.head(from).await? {
            Some(head) => self.fork(from, head.seq, to).await,
            None => Ok(false),
        }
    }
    /// Forgets all checkpoints but the newest `keep` (at least one); returns how many went.
    ///
    /// While a run is open, its own checkpoints and the one before it stay: it may still be rolled back.
    async fn prune(&self, thread: &ThreadId, keep: usize) -> Result<u64, Problem>;
    /// Forgets a thread and all that belongs to it, its effects excepted.
    async fn delete(&self, thread: &ThreadId) -> Result<(), Problem>;
    /// Forgets what `retention` does not keep. A thread that wakes up meanwhile is left alone.
    async fn retain(&self, retention: &Retention) -> Result<Forgotten, Problem>;
}
