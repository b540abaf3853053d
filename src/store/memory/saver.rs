//! Another framework's checkpoints, in memory.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use async_trait::async_trait;

use super::MemoryStore;
use crate::base::Problem;
use crate::store::saver::{
    Blob, CheckpointSaver, FoundCheckpoint, Link, NewCheckpoint, PruneStrategy, SavedCheckpoint,
    SavedPage, SavedQuery, SavedWrite, Scope, kept_with_latest,
};

/// Scope, checkpoint.
type Key = (Scope, String);

#[derive(Default)]
pub(super) struct Saved {
    checkpoints: BTreeMap<Key, Kept>,
    writes: HashMap<Key, BTreeMap<(String, i64), SavedWrite>>,
}

struct Kept {
    checkpoint: SavedCheckpoint,
    /// Channel → version, value. Values are shared with the checkpoints that have the same version.
    values: BTreeMap<String, (String, Option<Arc<Blob>>)>,
}

impl Saved {
    /// The value of a channel at a version: the parent's, else any.
    fn value(&self, new: &NewCheckpoint, channel: &str, version: &str) -> Option<Arc<Blob>> {
        let scope = &new.checkpoint.scope;
        let at = |kept: &Kept| {
            let (held, value) = kept.values.get(channel)?;
            (held == version).then(|| value.clone())
        };
        let parent = new
            .checkpoint
            .parent
            .clone()
            .and_then(|id| self.checkpoints.get(&(scope.clone(), id)).and_then(at));
        let any = || {
            self.checkpoints
                .iter()
                .rev()
                .filter(|(key, _)| key.0 == *scope)
                .find_map(|(_, kept)| at(kept))
        };
        parent.or_else(any).flatten()
    }

    fn keep(&mut self, mut new: NewCheckpoint) {
        let mut values = BTreeMap::new();
        for (channel, version) in std::mem::take(&mut new.versions) {
            let value = match new.values.remove(&channel) {
                Some(value) => value.map(Arc::new),
                None => self.value(&new, &channel, &version),
            };
            values.insert(channel, (version, value));
        }
        let checkpoint = new.checkpoint;
        let key = (checkpoint.scope.clone(), checkpoint.id.clone());
        self.checkpoints.insert(key, Kept { checkpoint, values });
    }

    fn keep_writes(&mut self, key: Key, writes: Vec<SavedWrite>) {
        let held = self.writes.entry(key).or_default();
        for write in writes {
            let place = (write.task.clone(), write.index);
            if write.index < 0 || !held.contains_key(&place) {
                held.insert(place, write);
            }
        }
    }

    fn found(&self, key: &Key, kept: &Kept) -> FoundCheckpoint {
        let values = kept.values.iter();
        let mut writes: Vec<SavedWrite> =
            self.writes.get(key).into_iter().flat_map(|held| held.values().cloned()).collect();
        writes.sort_by(|a, b| (&a.path, &a.task, a.index).cmp(&(&b.path, &b.task, b.index)));
        FoundCheckpoint {
            checkpoint: kept.checkpoint.clone(),
            values: values
                .filter_map(|(channel, (_, value))| {
                    Some((channel.clone(), (**value.as_ref()?).clone()))
                })
                .collect(),
            writes,
        }
    }

    fn retain(&mut self, stays: impl Fn(&Key, &Kept) -> bool) {
        let gone: Vec<Key> = self
            .checkpoints
            .iter()
            .filter(|(key, kept)| !stays(key, kept))
            .map(|(key, _)| key.clone())
            .collect();
        for key in gone {
            self.checkpoints.remove(&key);
            self.writes.remove(&key);
        }
    }

    fn keep_latest(&mut self, thread: &str) {
        let mut scopes: BTreeMap<Scope, Vec<Link>> = BTreeMap::new();
        for ((scope, _), kept) in
            self.checkpoints.iter().filter(|((scope, _), _)| scope.thread == thread)
        {
            let valued = kept.values.iter().filter(|(_, (_, value))| value.is_some());
            let link = Link {
                checkpoint: kept.checkpoint.clone(),
                valued: valued.map(|(channel, _)| channel.clone()).collect(),
            };
            scopes.entry(scope.clone()).or_default().push(link);
        }
        for (scope, links) in scopes {
            let ids = kept_with_latest(&links);
            self.retain(|(of, id), _| *of != scope || ids.contains(id));
        }
    }
}

#[async_trait]
impl CheckpointSaver for MemoryStore {
    async fn save(&self, new: NewCheckpoint) -> Result<(), Problem> {
        self.lock().saved.keep(new);
        Ok(())
    }

    async fn save_writes(
        &self,
        scope: &Scope,
        checkpoint: &str,
        writes: Vec<SavedWrite>,
    ) -> Result<(), Problem> {
        self.lock().saved.keep_writes((scope.clone(), checkpoint.to_owned()), writes);
        Ok(())
    }

    async fn find(&self, query: &SavedQuery) -> Result<SavedPage, Problem> {
        let inner = self.lock();
        let wanted = |checkpoint: &SavedCheckpoint| {
            let is = |held: &String, wanted: &Option<String>| {
                wanted.as_ref().is_none_or(|wanted| wanted == held)
            };
            is(&checkpoint.scope.thread, &query.thread)
                && is(&checkpoint.scope.namespace, &query.namespace)
                && is(&checkpoint.id, &query.id)
                && query.before.as_ref().is_none_or(|before| checkpoint.id < *before)
                && query.after.as_ref().is_none_or(|after| checkpoint.cursor() < *after)
                && checkpoint.matches(&query.filter)
        };
        let mut found: Vec<(&Key, &Kept)> =
            inner.saved.checkpoints.iter().filter(|(_, kept)| wanted(&kept.checkpoint)).collect();
        found.sort_by_key(|(_, kept)| std::cmp::Reverse(kept.checkpoint.cursor()));
        let more = found.len() > query.limit;
        found.truncate(query.limit);
        let next = found.last().filter(|_| more).map(|(_, kept)| kept.checkpoint.cursor());
        let found = found.into_iter().map(|(key, kept)| inner.saved.found(key, kept)).collect();
        Ok(SavedPage { found, next })
    }

    async fn forget_threads(&self, threads: &[String]) -> Result<(), Problem> {
        let saved = &mut self.lock().saved;
        saved.retain(|(scope, _), _| !threads.contains(&scope.thread));
        saved.writes.retain(|(scope, _), _| !threads.contains(&scope.thread));
        Ok(())
    }

    async fn forget_runs(&self, runs: &[String]) -> Result<(), Problem> {
        let made =
            |kept: &Kept| kept.checkpoint.run().is_some_and(|run| runs.iter().any(|of| of == run));
        self.lock().saved.retain(|_, kept| !made(kept));
        Ok(())
    }

    async fn copy_saved(&self, from: &str, to: &str) -> Result<bool, Problem> {
        let saved = &mut self.lock().saved;
        if saved.checkpoints.keys().any(|(scope, _)| scope.thread == to) {
            return Ok(false);
        }
        let renamed = |scope: &Scope| Scope { thread: to.to_owned(), ..scope.clone() };
        let mut copies = Vec::new();
        for (key, kept) in saved.checkpoints.iter().filter(|((scope, _), _)| scope.thread == from) {
            let scope = renamed(&key.0);
            let checkpoint = SavedCheckpoint { scope: scope.clone(), ..kept.checkpoint.clone() };
            let copy = Kept { checkpoint, values: kept.values.clone() };
            copies.push(((scope, key.1.clone()), copy, saved.writes.get(key).cloned()));
        }
        for (key, kept, writes) in copies {
            saved.writes.extend(writes.map(|writes| (key.clone(), writes)));
            saved.checkpoints.insert(key, kept);
        }
        Ok(true)
    }

    async fn prune_saved(
        &self,
        threads: &[String],
        strategy: PruneStrategy,
    ) -> Result<(), Problem> {
        match strategy {
            PruneStrategy::Delete => self.forget_threads(threads).await,
            PruneStrategy::KeepLatest => {
                let saved = &mut self.lock().saved;
                threads.iter().for_each(|thread| saved.keep_latest(thread));
                Ok(())
            }
        }
    }
}
