//! Checkpoints that another framework makes: kept here as they come, by the contract of LangGraph's savers.
//!
//! Values are opaque bytes. A thread has namespaces (one per subgraph); in each, checkpoints form a tree by their parents,
//! and the one with the greatest id is the newest.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use serde_json::{Map, Value};

use crate::base::Problem;

/// Metadata of a thread with channels that are kept as writes since their last snapshot: channel → counters.
const DELTA_COUNTERS: &str = "counters_since_delta_snapshot";

/// A value in its writer's own serialisation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// Name of the serialisation: `msgpack`.
    pub kind: String,
    /// Content.
    pub bytes: Vec<u8>,
}

/// Where checkpoints lie.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope {
    /// Thread.
    pub thread: String,
    /// Namespace; empty: the root graph.
    pub namespace: String,
}

/// A checkpoint without its values.
#[derive(Debug, Clone, PartialEq)]
pub struct SavedCheckpoint {
    /// Where it lies.
    pub scope: Scope,
    /// Id; ids of a scope sort by age.
    pub id: String,
    /// The checkpoint before it.
    pub parent: Option<String>,
    /// All but the values.
    pub body: Blob,
    /// What it can be found by; `run_id` is the run that made it.
    pub metadata: Map<String, Value>,
}

/// A checkpoint to keep.
#[derive(Debug, Clone, PartialEq)]
pub struct NewCheckpoint {
    /// The checkpoint.
    pub checkpoint: SavedCheckpoint,
    /// Version of every channel.
    pub versions: BTreeMap<String, String>,
    /// Channels whose version is new; `None`: empty. The others keep the value they have at their version.
    pub values: BTreeMap<String, Option<Blob>>,
}

/// A write of a task that was not applied yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedWrite {
    /// Task.
    pub task: String,
    /// Place of the task in its graph: writes are ordered by it first.
    pub path: String,
    /// Number of the write in its task. A negative one replaces the write before; another counts once.
    pub index: i64,
    /// Channel.
    pub channel: String,
    /// Value.
    pub value: Blob,
}

/// A checkpoint with all that belongs to it.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundCheckpoint {
    /// The checkpoint.
    pub checkpoint: SavedCheckpoint,
    /// Values of its channels; empty channels are left out.
    pub values: BTreeMap<String, Blob>,
    /// Writes that follow it, in the order in which they are applied.
    pub writes: Vec<SavedWrite>,
}

/// Which checkpoints to list.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SavedQuery {
    /// Of this thread; `None`: of all.
    pub thread: Option<String>,
    /// Of this namespace; `None`: of all.
    pub namespace: Option<String>,
    /// The one with this id.
    pub id: Option<String>,
    /// Older than this id.
    pub before: Option<String>,
    /// Whose metadata has these values.
    pub filter: Map<String, Value>,
    /// Go on behind this place of a listing.
    pub after: Option<SavedCursor>,
    /// At most so many.
    pub limit: usize,
}

/// A place in a listing: checkpoint id, thread, namespace.
pub type SavedCursor = (String, String, String);

/// Checkpoints, newest id first.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SavedPage {
    /// What was found.
    pub found: Vec<FoundCheckpoint>,
    /// Where the rest begins; `None`: there is none.
    pub next: Option<SavedCursor>,
}

/// What pruning leaves of a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PruneStrategy {
    /// The newest checkpoint of each namespace, and what its values are put together from.
    KeepLatest,
    /// Nothing.
    Delete,
}

/// Keeps another framework's checkpoints. Every method that writes is durable when it returns.
#[async_trait]
pub trait CheckpointSaver: Send + Sync {
    /// Keeps a checkpoint; one with the same id is replaced.
    async fn save(&self, new: NewCheckpoint) -> Result<(), Problem>;
    /// Keeps writes that follow a checkpoint, which may come later.
    async fn save_writes(
        &self,
        scope: &Scope,
        checkpoint: &str,
        writes: Vec<SavedWrite>,
    ) -> Result<(), Problem>;
    /// Checkpoints, newest id first.
    async fn find(&self, query: &SavedQuery) -> Result<SavedPage, Problem>;
    /// Forgets threads, every namespace.
    async fn forget_threads(&self, threads: &[String]) -> Result<(), Problem>;
    /// Forgets the checkpoints that these runs made, and their writes.
    async fn forget_runs(&self, runs: &[String]) -> Result<(), Problem>;
    /// Makes `to` like `from`. `false`: `to` has checkpoints of its own.
    async fn copy_saved(&self, from: &str, to: &str) -> Result<bool, Problem>;
    /// Forgets what `strategy` does not leave of these threads.
    async fn prune_saved(&self, threads: &[String], strategy: PruneStrategy)
    -> Result<(), Problem>;

    /// One checkpoint: with this id, or the newest.
    async fn saved(
        &self,
        scope: &Scope,
        id: Option<&str>,
    ) -> Result<Option<FoundCheckpoint>, Problem> {
        let query = SavedQuery {
            thread: Some(scope.thread.clone()),
            namespace: Some(scope.namespace.clone()),
            id: id.map(str::to_owned),
            limit: 1,
            ..SavedQuery::default()
        };
        Ok(self.find(&query).await?.found.pop())
    }
}

impl SavedCheckpoint {
    /// The run that made it.
    pub(super) fn run(&self) -> Option<&str> {
        self.metadata.get("run_id").and_then(Value::as_str)
    }

    /// Its place in a listing.
    pub(super) fn cursor(&self) -> SavedCursor {
        (self.id.clone(), self.scope.thread.clone(), self.scope.namespace.clone())
    }

    pub(super) fn matches(&self, filter: &Map<String, Value>) -> bool {
        filter.iter().all(|(key, value)| self.metadata.get(key) == Some(value))
    }

    /// Channels whose value here is a chain of writes since an older checkpoint.
    fn delta_channels(&self) -> impl Iterator<Item = &String> {
        self.metadata.get(DELTA_COUNTERS).and_then(Value::as_object).into_iter().flat_map(Map::keys)
    }
}

/// A checkpoint as pruning sees it.
pub(super) struct Link {
    pub(super) checkpoint: SavedCheckpoint,
    /// Channels that have a value of their own here.
    pub(super) valued: BTreeSet<String>,
}

/// Ids that stay when only the newest checkpoint of a scope has to: itself, and its ancestors back to where each of its
/// channels has a value. Without them such a channel would read as empty, and nobody would notice.
pub(super) fn kept_with_latest(links: &[Link]) -> BTreeSet<String> {
    let by_id: BTreeMap<&str, &Link> =
        links.iter().map(|link| (link.checkpoint.id.as_str(), link)).collect();
    let Some(latest) = by_id.values().next_back() else { return BTreeSet::new() };
    let mut kept = BTreeSet::from([latest.checkpoint.id.clone()]);
    let mut open: BTreeSet<&String> = latest.checkpoint.delta_channels().collect();
    open.retain(|channel| !latest.valued.contains(*channel));
    let mut parent = latest.checkpoint.parent.as_deref();
    while let Some(link) = parent.filter(|_| !open.is_empty()).and_then(|id| by_id.get(id)) {
        if !kept.insert(link.checkpoint.id.clone()) {
            break;
        }
        open.retain(|channel| !link.valued.contains(*channel));
        parent = link.checkpoint.parent.as_deref();
    }
    kept
}
