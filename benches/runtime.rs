//! Speed of the runtime, case by case, each in a process of its own. `benches/run runtime` puts it beside its peers.
//!
//! `cargo bench --bench runtime -- [--folder FOLDER] [CASE…]`: one JSON line a case. The folder (default: the system's
//! temporary one) decides which disk is measured.
#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on should stop where it is")]

#[path = "runtime/cases.rs"]
mod cases;

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use perf_agent::base::{EffectKey, Millis, Problem, ThreadId};
use perf_agent::runtime::{
    Begun, Checkpoint, CheckpointStore, Commit, Committed, Epoch, Event, Forgotten, Letter,
    NewEvent, Opened, PostOutcome, Posted, Retention, TaskResult, ThreadRow,
};
use serde_json::Value;

fn main() {
    let mut folder = std::env::temp_dir();
    let mut wanted: Vec<String> = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--folder" => folder = PathBuf::from(arguments.next().unwrap()),
            // Cargo says so to every benchmark.
            "--bench" => {}
            _ => wanted.push(argument),
        }
    }
    match wanted.as_slice() {
        [only] => cases::run(only, &folder),
        several => {
            let all: Vec<&str> = several.iter().map(String::as_str).collect();
            for case in if all.is_empty() { cases::ALL.to_vec() } else { all } {
                // A process each: memory is counted by the process.
                let this = std::env::current_exe().unwrap();
                let done = Command::new(this).arg("--folder").arg(&folder).arg(case).status();
                assert!(done.unwrap().success(), "{case} failed");
            }
        }
    }
}

/// Keeps nothing but the head: what the runtime itself costs.
#[derive(Default)]
struct NoStore {
    head: Mutex<Option<Arc<Checkpoint>>>,
    inbox: Mutex<Vec<Posted>>,
    graphs: Mutex<Option<String>>,
}

#[async_trait]
impl CheckpointStore for NoStore {
    async fn put_graph(&self, _: &str, text: &str) -> Result<(), Problem> {
        *self.graphs.lock().unwrap() = Some(text.to_owned());
        Ok(())
    }
    async fn graph(&self, _: &str) -> Result<Option<String>, Problem> {
        Ok(self.graphs.lock().unwrap().clone())
    }
    async fn open_epoch(&self, _: &ThreadId, _: &str) -> Result<Opened, Problem> {
        let (head, inbox) = (self.head.lock().unwrap().clone(), self.inbox.lock().unwrap().clone());
        Ok(Opened { epoch: Epoch(1), head, inbox, results: Vec::new() })
    }
    async fn commit(&self, commit: Commit) -> Result<Committed, Problem> {
        if !commit.applied.is_empty() {
            self.inbox.lock().unwrap().clear();
        }
        *self.head.lock().unwrap() = Some(commit.checkpoint);
        Ok(Committed::Committed)
    }
    async fn put_task_writes(
        &self,
        _: &ThreadId,
        _: Epoch,
        _: &TaskResult,
        _: Vec<NewEvent>,
    ) -> Result<bool, Problem> {
        Ok(true)
    }
    async fn append_events(
        &self,
        _: &ThreadId,
        _: Epoch,
        _: Vec<NewEvent>,
    ) -> Result<bool, Problem> {
        Ok(true)
    }
    async fn effect_begin(
        &self,
        _: &ThreadId,
        _: Epoch,
        _: &EffectKey,
        _: &str,
    ) -> Result<Begun, Problem> {
        Ok(Begun::Fresh)
    }
    async fn effect_finish(&self, _: &EffectKey, _: &Value) -> Result<(), Problem> {
        Ok(())
    }
    async fn inbox_push(
        &self,
        _: &ThreadId,
        letter: &Letter,
        at: Millis,
        _: Option<&str>,
    ) -> Result<PostOutcome, Problem> {
        self.inbox.lock().unwrap().push(Posted { id: 1, at, letter: letter.clone() });
        Ok(PostOutcome::Accepted(1))
    }
    async fn inbox(&self, _: &ThreadId) -> Result<Vec<Posted>, Problem> {
        Ok(self.inbox.lock().unwrap().clone())
    }
    async fn results(&self, _: &ThreadId) -> Result<Vec<TaskResult>, Problem> {
        Ok(Vec::new())
    }
    async fn retain(&self, _: &Retention) -> Result<Forgotten, Problem> {
        Ok(Forgotten::default())
    }
    async fn head(&self, _: &ThreadId) -> Result<Option<Arc<Checkpoint>>, Problem> {
        Ok(self.head.lock().unwrap().clone())
    }
    async fn state_at(&self, _: &ThreadId, _: u64) -> Result<Option<Arc<Checkpoint>>, Problem> {
        Ok(None)
    }
    async fn history(
        &self,
        _: &ThreadId,
        _: Option<u64>,
        _: usize,
    ) -> Result<Vec<Arc<Checkpoint>>, Problem> {
        Ok(Vec::new())
    }
    async fn events(&self, _: &ThreadId, _: u64, _: usize) -> Result<Vec<Event>, Problem> {
        Ok(Vec::new())
    }
    async fn threads(&self, _: usize) -> Result<Vec<ThreadRow>, Problem> {
        Ok(Vec::new())
    }
    async fn wakes(&self, _: Millis, _: usize) -> Result<Vec<(Millis, ThreadId)>, Problem> {
        Ok(Vec::new())
    }
    async fn put_wake(&self, _: &ThreadId, _: Millis) -> Result<(), Problem> {
        Ok(())
    }
    async fn stale_ready(&self, _: Millis, _: usize) -> Result<Vec<ThreadId>, Problem> {
        Ok(Vec::new())
    }
    async fn fork(&self, _: &ThreadId, _: u64, _: &ThreadId) -> Result<bool, Problem> {
        Ok(false)
    }
    async fn prune(&self, _: &ThreadId, _: usize) -> Result<u64, Problem> {
        Ok(0)
    }
    async fn delete(&self, _: &ThreadId) -> Result<(), Problem> {
        Ok(())
    }
}
