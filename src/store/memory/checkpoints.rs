//! The checkpoint store's contract, in memory.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;

use super::{Entry, MemoryStore, Thread};
use crate::base::{EffectKey, Millis, Problem, ThreadId};
use crate::runtime::{
    Begun, Checkpoint, CheckpointStore, Commit, Committed, Epoch, Event, Forgotten, Letter,
    NewEvent, Opened, PostOutcome, Posted, Retention, TaskResult, ThreadRow, Verdict,
};

#[async_trait]
impl CheckpointStore for MemoryStore {
    async fn put_graph(&self, hash: &str, text: &str) -> Result<(), Problem> {
        self.lock().graphs.entry(hash.to_owned()).or_insert_with(|| text.to_owned());
        Ok(())
    }

    async fn graph(&self, hash: &str) -> Result<Option<String>, Problem> {
        Ok(self.lock().graphs.get(hash).cloned())
    }

    async fn open_epoch(&self, thread: &ThreadId, _owner: &str) -> Result<Opened, Problem> {
        let mut inner = self.lock();
        let thread = inner.threads.entry(thread.clone()).or_default();
        thread.epoch += 1;
        Ok(Opened {
            epoch: Epoch(thread.epoch),
            head: thread.head().cloned(),
            inbox: thread.inbox.clone(),
            results: thread.results.clone(),
        })
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, Problem> {
        let mut inner = self.lock();
        let Some(thread) = inner.threads.get_mut(&commit.checkpoint.thread) else {
            return Ok(Committed::Fenced);
        };
        let verdict = thread.accepts(&commit);
        if verdict != Committed::Committed {
            return Ok(verdict);
        }
        thread.wake_at = commit.checkpoint.wake_at();
        thread.updated = commit.checkpoint.at;
        thread.history.push(commit.checkpoint);
        thread.journal(commit.events);
        if !commit.applied.is_empty() {
            thread.inbox.retain(|posted| !commit.applied.contains(&posted.id));
        }
        if commit.closes_superstep {
            thread.results.clear();
        }
        for (key, verdict) in commit.effects {
            match verdict {
                Verdict::Done(result) => inner.effects.insert(key, Some(result)),
                Verdict::NotDone => inner.effects.remove(&key),
            };
        }
        Ok(Committed::Committed)
    }

    async fn put_task_writes(
        &self,
        thread: &ThreadId,
        epoch: Epoch,
        result: &TaskResult,
        events: Vec<NewEvent>,
    ) -> Result<bool, Problem> {
        let mut inner = self.lock();
        let owned = inner.threads.get_mut(thread).filter(|thread| thread.epoch == epoch.0);
        Ok(owned.is_some_and(|thread| {
            thread.results.retain(|kept| kept.node != result.node);
            thread.results.push(result.clone());
            thread.journal(events);
            true
        }))
    }

    async fn append_events(
        &self,
        thread: &ThreadId,
        epoch: Epoch,
        events: Vec<NewEvent>,
    ) -> Result<bool, Problem> {
        let mut inner = self.lock();
        let owned = inner.threads.get_mut(thread).filter(|thread| thread.epoch == epoch.0);
        Ok(owned.is_some_and(|thread| {
            thread.journal(events);
            true
        }))
    }

    async fn effect_begin(
        &self,
        thread: &ThreadId,
        epoch: Epoch,
        key: &EffectKey,
        _policy: &str,
    ) -> Result<Begun, Problem> {
        let mut inner = self.lock();
        if inner.threads.get(thread).is_none_or(|thread| thread.epoch != epoch.0) {
            return Ok(Begun::Fenced);
        }
        Ok(match inner.effects.get(key) {
            Some(Some(result)) => Begun::Done(result.clone()),
            Some(None) => Begun::InDoubt,
            None => {
                inner.effects.insert(key.clone(), None);
                Begun::Fresh
            }
        })
    }

    async fn effect_finish(&self, key: &EffectKey, result: &Value) -> Result<(), Problem> {
        self.lock().effects.insert(key.clone(), Some(result.clone()));
        Ok(())
    }

    async fn inbox_push(
        &self,
        thread: &ThreadId,
        letter: &Letter,
        at: Millis,
        dedupe: Option<&str>,
    ) -> Result<PostOutcome, Problem> {
        let mut inner = self.lock();
        let id = inner.counter + 1;
        let thread = inner.threads.entry(thread.clone()).or_default();
        if dedupe.is_some_and(|key| !thread.dedupe.insert(key.to_owned())) {
            return Ok(PostOutcome::Duplicate);
        }
        thread.inbox.push(Posted { id, at, letter: letter.clone() });
        thread.updated = thread.updated.max(at);
        inner.counter = id;
        Ok(PostOutcome::Accepted(id))
    }

    async fn inbox(&self, thread: &ThreadId) -> Result<Vec<Posted>, Problem> {
        Ok(self.lock().threads.get(thread).map(|thread| thread.inbox.clone()).unwrap_or_default())
    }

    async fn results(&self, thread: &ThreadId) -> Result<Vec<TaskResult>, Problem> {
        Ok(self.lock().threads.get(thread).map(|thread| thread.results.clone()).unwrap_or_default())
    }

    async fn head(&self, thread: &ThreadId) -> Result<Option<Arc<Checkpoint>>, Problem> {
        Ok(self.lock().threads.get(thread).and_then(|thread| thread.head().cloned()))
    }

    async fn state_at(
        &self,
        thread: &ThreadId,
        seq: u64,
    ) -> Result<Option<Arc<Checkpoint>>, Problem> {
        Ok(self.lock().threads.get(thread).and_then(|thread| thread.at(seq).cloned()))
    }

    async fn history(
        &self,
        thread: &ThreadId,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Arc<Checkpoint>>, Problem> {
        let inner = self.lock();
        let Some(thread) = inner.threads.get(thread) else { return Ok(Vec::new()) };
        let earlier = |state: &&Arc<Checkpoint>| before.is_none_or(|before| state.seq < before);
        Ok(thread.history.iter().rev().filter(earlier).take(limit).cloned().collect())
    }

    async fn events(
        &self,
        thread: &ThreadId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Event>, Problem> {
        let inner = self.lock();
        let Some(thread) = inner.threads.get(thread) else { return Ok(Vec::new()) };
        let from = thread.events.partition_point(|entry| entry.seq <= after);
        Ok(thread.events[from..].iter().take(limit).map(Entry::event).collect())
    }

    async fn threads(&self, limit: usize) -> Result<Vec<ThreadRow>, Problem> {
        let inner = self.lock();
        let mut rows: Vec<(Millis, ThreadRow)> = inner
            .threads
            .iter()
            .filter(|(_, thread)| thread.head().is_some() || !thread.inbox.is_empty())
            .map(|(id, thread)| {
                let head = thread.head().cloned();
                (thread.updated, ThreadRow { thread: id.clone(), head })
            })
            .collect();
        rows.sort_by(|(a, row_a), (b, row_b)| (b, &row_a.thread).cmp(&(a, &row_b.thread)));
        Ok(rows.into_iter().take(limit).map(|(_, row)| row).collect())
    }

    async fn wakes(&self, until: Millis, limit: usize) -> Result<Vec<(Millis, ThreadId)>, Problem> {
        let inner = self.lock();
        let mut wakes: Vec<(Millis, ThreadId)> = inner
            .threads
            .iter()
            .filter_map(|(id, thread)| Some((thread.wake_at?, id.clone())))
            .filter(|(at, _)| *at <= until)
            .collect();
        wakes.sort();
        wakes.truncate(limit);
        Ok(wakes)
    }

    async fn put_wake(&self, thread: &ThreadId, at: Millis) -> Result<(), Problem> {
        let mut inner = self.lock();
        let thread = inner.threads.entry(thread.clone()).or_default();
        thread.wake_at = Some(thread.wake_at.map_or(at, |held| held.min(at)));
        Ok(())
    }

    async fn stale_ready(&self, older: Millis, limit: usize) -> Result<Vec<ThreadId>, Problem> {
        let inner = self.lock();
        let mut ready: Vec<(Millis, ThreadId)> = inner
            .threads
            .iter()
            .filter(|(_, thread)| thread.is_ready() && thread.updated < older)
            .map(|(id, thread)| (thread.updated, id.clone()))
            .collect();
        ready.sort();
        Ok(ready.into_iter().take(limit).map(|(_, thread)| thread).collect())
    }

    async fn fork(&self, from: &ThreadId, seq: u64, to: &ThreadId) -> Result<bool, Problem> {
        let mut inner = self.lock();
        let taken =
            inner.threads.get(to).is_some_and(|to| to.head().is_some() || !to.inbox.is_empty());
        let source = inner.threads.get(from).filter(|from| !taken && from.at(seq).is_some());
        let Some(source) = source else { return Ok(false) };
        let renamed = |state: &Arc<Checkpoint>| {
            Arc::new(Checkpoint { thread: to.clone(), ..(**state).clone() })
        };
        let history: Vec<Arc<Checkpoint>> =
            source.history.iter().filter(|state| state.seq <= seq).map(renamed).collect();
        let at_head = source.head().is_some_and(|head| head.seq == seq);
        let results = if at_head { source.results.clone() } else { Vec::new() };
        let copy = inner.threads.entry(to.clone()).or_default();
        if let Some(head) = history.last() {
            (copy.wake_at, copy.updated) = (head.wake_at(), head.at);
        }
        (copy.history, copy.results) = (history, results);
        Ok(true)
    }

    async fn prune(&self, thread: &ThreadId, keep: usize) -> Result<u64, Problem> {
        Ok(self.lock().threads.get_mut(thread).map_or(0, |thread| thread.prune(keep)))
    }

    async fn delete(&self, thread: &ThreadId) -> Result<(), Problem> {
        if let Some(thread) = self.lock().threads.get_mut(thread) {
            thread.forget();
        }
        Ok(())
    }

    async fn retain(&self, retention: &Retention) -> Result<Forgotten, Problem> {
        let mut inner = self.lock();
        let mut at_rest: Vec<(&ThreadId, &mut Thread)> =
            inner.threads.iter_mut().filter(|(_, thread)| thread.is_at_rest()).collect();
        at_rest.sort_by(|(id_a, a), (id_b, b)| (b.updated, id_b).cmp(&(a.updated, id_a)));
        let mut forgotten = Forgotten::default();
        for (place, (id, thread)) in at_rest.into_iter().enumerate() {
            let too_many = retention.threads_max.is_some_and(|keep| place >= keep);
            let too_old = retention.finished_before.is_some_and(|before| thread.updated < before);
            if too_many || too_old {
                thread.forget();
                forgotten.threads.push(id.clone());
            } else {
                let (checkpoints, events) = thread.shorten(retention);
                forgotten.checkpoints += checkpoints;
                forgotten.events += events;
            }
        }
        forgotten.threads.sort();
        Ok(forgotten)
    }
}
