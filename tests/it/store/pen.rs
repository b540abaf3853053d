//! Writes a thread's history by hand.

use std::collections::BTreeMap;
use std::sync::Arc;

use perf_agent::base::{Millis, RunId, ThreadId};
use perf_agent::runtime::{
    Change, Checkpoint, CheckpointStore, Commit, Committed, Epoch, Letter, Named, NewEvent,
    Progress, RunInfo, Slot, Status, TaskResult, Usage,
};
use serde_json::{Value, json};

pub type Store<S> = Arc<S>;

pub fn thread() -> ThreadId {
    ThreadId("t".to_owned())
}

/// Writes a thread's history for a test.
pub struct Pen<'a> {
    pub store: &'a dyn CheckpointStore,
    pub epoch: Epoch,
    pub state: Checkpoint,
}

impl<'a> Pen<'a> {
    pub async fn new(store: &'a dyn CheckpointStore, thread: &str) -> Self {
        let thread = ThreadId(thread.to_owned());
        let epoch = store.open_epoch(&thread, "test").await.unwrap().epoch;
        let run = RunInfo {
            id: RunId(format!("run of {thread}")),
            graph: "g".to_owned(),
            graph_hash: "h".to_owned(),
            context: Arc::new(BTreeMap::from([("who".to_owned(), json!("ada"))])),
            started: Millis(1),
            thread_created: Millis(1),
            parent_seq: 0,
            pauses: Default::default(),
            supersteps_max: None,
            continues: None,
        };
        let state = Checkpoint {
            thread,
            seq: 0,
            run: Arc::new(run),
            superstep: 0,
            status: Status::Running,
            channels: Named::new(),
            tasks: Vec::new(),
            progress: Progress::default(),
            grants: Vec::new(),
            signals: Vec::new(),
            error: None,
            at: Millis(0),
        };
        Self { store, epoch, state }
    }

    /// The next commit, with these channels set; `kept` of them as deltas.
    pub fn next(&mut self, writes: &[(&str, Option<Value>, usize)]) -> Commit {
        let parent_seq = self.state.seq;
        self.state.seq += 1;
        self.state.superstep += 1;
        self.state.at = Millis(self.state.at.0 + 10);
        let mut changed = Vec::new();
        for (channel, value, kept) in writes {
            let version = self.state.channels.get(channel).map_or(1, |slot| slot.version + 1);
            let value = value.clone().map(Arc::new);
            let slot = Slot { version, superstep: self.state.superstep, value };
            self.state.channels.insert((*channel).to_owned(), slot);
            changed.push(Change { channel: (*channel).to_owned(), kept: *kept });
        }
        Commit {
            epoch: self.epoch,
            parent_seq,
            checkpoint: Arc::new(self.state.clone()),
            changed,
            events: Vec::new(),
            applied: Vec::new(),
            inbox_read_to: None,
            effects: Vec::new(),
            closes_superstep: false,
        }
    }

    pub async fn write(&mut self, writes: &[(&str, Option<Value>, usize)]) -> Arc<Checkpoint> {
        let commit = self.next(writes);
        let state = commit.checkpoint.clone();
        assert_eq!(self.store.commit(commit).await.unwrap(), Committed::Committed);
        state
    }
}

impl<'a> Pen<'a> {
    /// A pen at the parent of where `other` is.
    pub fn new_like(other: &Pen<'a>) -> Self {
        let mut state = other.state.clone();
        state.seq -= 1;
        Self { store: other.store, epoch: other.epoch, state }
    }
}

pub fn event(kind: &str) -> NewEvent {
    NewEvent {
        at: Millis(5),
        run: RunId("run of t".to_owned()),
        kind: kind.to_owned().into(),
        data: json!({ "kind": kind }).into(),
    }
}

pub fn letter(name: &str) -> Letter {
    Letter::Signal { name: name.to_owned(), payload: Value::Null }
}

pub fn result(node: &str) -> TaskResult {
    TaskResult {
        node: node.to_owned(),
        writes: vec![("n".to_owned(), json!(1))],
        grant: None,
        usage: Usage::default(),
        failed: None,
        goto: None,
    }
}
