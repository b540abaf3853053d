//! The checkpoint store's contract, kept by the writer and the readers.

use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::params;
use serde_json::Value;

use super::codec::{decode, encode};
use super::read::Which;
use super::write::place;
use super::{SqliteStore, signed, surgery, unsigned};
use crate::base::{EffectKey, Millis, Problem, ThreadId};
use crate::runtime::{
    Begun, Checkpoint, CheckpointStore, Commit, Committed, Epoch, Event, Forgotten, Letter,
    NewEvent, Opened, PostOutcome, Posted, Retention, TaskResult, ThreadRow,
};

#[async_trait]
impl CheckpointStore for SqliteStore {
    async fn put_graph(&self, hash: &str, text: &str) -> Result<(), Problem> {
        let data = encode(&graph_place(hash), text)?;
        let hash = hash.to_owned();
        let insert = "INSERT INTO graphs (hash, data) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
        self.writer
            .call(data.len(), move |sql| sql.run(insert, params![hash, data]).map(|_| ()))
            .await?;
        Ok(())
    }

    async fn graph(&self, hash: &str) -> Result<Option<String>, Problem> {
        let wanted = hash.to_owned();
        let data = self
            .readers
            .call(move |sql| {
                sql.first("SELECT data FROM graphs WHERE hash = ?1", [wanted], |row| {
                    row.get::<_, Vec<u8>>(0)
                })
            })
            .await?;
        Ok(data.map(|data| decode(&graph_place(hash), &data)).transpose()?)
    }

    async fn open_epoch(&self, thread: &ThreadId, owner: &str) -> Result<Opened, Problem> {
        let epoch = self.take_over(thread, owner).await?;
        // The owner before is fenced now: what is read here can only be added to by letters.
        let (head, inbox, results) = self.opened(thread).await?;
        Ok(Opened { epoch, head, inbox, results })
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, Problem> {
        Ok(self.write_commit(commit).await?)
    }

    async fn put_task_writes(
        &self,
        thread: &ThreadId,
        epoch: Epoch,
        result: &TaskResult,
        events: Vec<NewEvent>,
    ) -> Result<bool, Problem> {
        Ok(self.write_result(thread, epoch, Some(result), events).await?)
    }

    async fn append_events(
        &self,
        thread: &ThreadId,
        epoch: Epoch,
        events: Vec<NewEvent>,
    ) -> Result<bool, Problem> {
        Ok(self.write_result(thread, epoch, None, events).await?)
    }

    async fn effect_begin(
        &self,
        thread: &ThreadId,
        epoch: Epoch,
        key: &EffectKey,
        policy: &str,
    ) -> Result<Begun, Problem> {
        Ok(match self.begin_effect(thread, epoch, key, policy).await? {
            Ok(begun) => begun,
            Err(done) => Begun::Done(decode(&place::effect(&key.0), &done)?),
        })
    }

    async fn effect_finish(&self, key: &EffectKey, result: &Value) -> Result<(), Problem> {
        Ok(self.finish_effect(key, result).await?)
    }

    async fn inbox_push(
        &self,
        thread: &ThreadId,
        letter: &Letter,
        at: Millis,
        dedupe: Option<&str>,
    ) -> Result<PostOutcome, Problem> {
        Ok(self.post(thread, letter, at, dedupe).await?)
    }

    async fn inbox(&self, thread: &ThreadId) -> Result<Vec<Posted>, Problem> {
        Ok(self.open_letters(thread).await?)
    }

    async fn results(&self, thread: &ThreadId) -> Result<Vec<TaskResult>, Problem> {
        let (_, _, results) = self.opened(thread).await?;
        Ok(results)
    }

    async fn head(&self, thread: &ThreadId) -> Result<Option<Arc<Checkpoint>>, Problem> {
        Ok(self.checkpoints(thread, Which::Head).await?.into_iter().next())
    }

    async fn state_at(
        &self,
        thread: &ThreadId,
        seq: u64,
    ) -> Result<Option<Arc<Checkpoint>>, Problem> {
        Ok(self.checkpoints(thread, Which::At(seq)).await?.into_iter().next())
    }

    async fn history(
        &self,
        thread: &ThreadId,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Arc<Checkpoint>>, Problem> {
        Ok(self.checkpoints(thread, Which::Before(before, limit)).await?)
    }

    async fn events(
        &self,
        thread: &ThreadId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Event>, Problem> {
        Ok(self.journal(thread, after, limit).await?)
    }

    async fn threads(&self, limit: usize) -> Result<Vec<ThreadRow>, Problem> {
        let names = self
            .thread_names(
                "SELECT thread FROM threads WHERE head_seq > 0 OR letters > 0
                 ORDER BY updated DESC, thread DESC LIMIT ?1",
                limit,
                None,
            )
            .await?;
        let mut rows = Vec::with_capacity(names.len());
        for thread in names {
            let head = self.head(&thread).await?;
            rows.push(ThreadRow { thread, head });
        }
        Ok(rows)
    }

    async fn wakes(&self, until: Millis, limit: usize) -> Result<Vec<(Millis, ThreadId)>, Problem> {
        let text = "SELECT wake_at, thread FROM threads WHERE wake_at <= ?1
             ORDER BY wake_at, thread LIMIT ?2";
        let bounds = (signed(until.0), signed(limit as u64));
        let read =
            |row: &rusqlite::Row<'_>| Ok((Millis(unsigned(row.get(0)?)), ThreadId(row.get(1)?)));
        Ok(self.readers.call(move |sql| sql.all(text, bounds, read)).await?)
    }

    async fn put_wake(&self, thread: &ThreadId, at: Millis) -> Result<(), Problem> {
        let thread = thread.0.clone();
        self.writer
            .call(64, move |sql| {
                let id = super::write::thread_id(sql, &thread)?;
                sql.run(
                    "UPDATE threads SET wake_at = min(coalesce(wake_at, ?2), ?2) WHERE id = ?1",
                    params![id, signed(at.0)],
                )
            })
            .await?;
        Ok(())
    }

    async fn stale_ready(&self, older: Millis, limit: usize) -> Result<Vec<ThreadId>, Problem> {
        let text = "SELECT thread FROM threads
             WHERE (status = 'running' OR letters > 0) AND updated < ?2
             ORDER BY updated, thread LIMIT ?1";
        Ok(self.thread_names(text, limit, Some(older)).await?)
    }

    async fn fork(&self, from: &ThreadId, seq: u64, to: &ThreadId) -> Result<bool, Problem> {
        Ok(self.copy_thread(from, seq, to).await?)
    }

    async fn prune(&self, thread: &ThreadId, keep: usize) -> Result<u64, Problem> {
        Ok(self.cut_history(thread, keep).await?)
    }

    async fn delete(&self, thread: &ThreadId) -> Result<(), Problem> {
        let thread = thread.0.clone();
        self.writer.call(64, move |sql| surgery::forget(sql, &thread)).await?;
        Ok(())
    }

    async fn retain(&self, retention: &Retention) -> Result<Forgotten, Problem> {
        Ok(self.forget_by(retention).await?)
    }
}

impl SqliteStore {
    async fn thread_names(
        &self,
        text: &'static str,
        limit: usize,
        moment: Option<Millis>,
    ) -> Result<Vec<ThreadId>, super::Error> {
        let limit = signed(limit as u64);
        self.readers
            .call(move |sql| {
                let read = |row: &rusqlite::Row<'_>| row.get(0).map(ThreadId);
                match moment {
                    Some(moment) => sql.all(text, params![limit, signed(moment.0)], read),
                    None => sql.all(text, [limit], read),
                }
            })
            .await
    }
}

pub(super) fn graph_place(hash: &str) -> String {
    format!("graph {hash}")
}
