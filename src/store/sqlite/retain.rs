//! Forgetting: checkpoints of one thread, or whatever a retention rule does not keep.

use rusqlite::params;

use super::read::Which;
use super::statements::Sql;
use super::write::thread_id;
use super::{Error, SqliteStore, signed, surgery, unsigned};
use crate::base::ThreadId;
use crate::runtime::{Forgotten, Retention};

impl SqliteStore {
    /// Forgets all checkpoints but the newest `keep`, and those an open run needs.
    pub(super) async fn cut_history(&self, thread: &ThreadId, keep: usize) -> Result<u64, Error> {
        let Some(head) = self.checkpoints(thread, Which::Head).await?.into_iter().next() else {
            return Ok(0);
        };
        let (name, limit) = (thread.0.clone(), signed(head.prune_limit()));
        let behind = signed(keep.max(1) as u64) - 1;
        let first_kept = self
            .readers
            .call(move |sql| {
                sql.first(
                    "SELECT min(seq) FROM checkpoints
                     WHERE thread = (SELECT id FROM threads WHERE thread = ?1)
                       AND seq >= min(?3, (SELECT seq FROM checkpoints
                         WHERE thread = (SELECT id FROM threads WHERE thread = ?1)
                         ORDER BY seq DESC LIMIT 1 OFFSET ?2))",
                    params![name, behind, limit],
                    |row| row.get::<_, Option<i64>>(0),
                )
            })
            .await?
            .flatten();
        let Some(first_kept) = first_kept.map(unsigned) else { return Ok(0) };
        let oldest = self.checkpoints(thread, Which::At(first_kept)).await?.into_iter().next();
        let Some(oldest) = oldest else { return Ok(0) };
        let thread = thread.0.clone();
        let versions: Vec<(String, u64)> =
            oldest.channels.iter().map(|(name, slot)| (name.to_owned(), slot.version)).collect();
        self.writer.call(64, move |sql| cut(sql, &thread, first_kept, &versions)).await
    }

    /// See [`crate::runtime::CheckpointStore::retain`].
    pub(super) async fn forget_by(&self, retention: &Retention) -> Result<Forgotten, Error> {
        let at_rest = self
            .readers
            .call(|sql| {
                sql.all(
                    "SELECT thread, updated FROM threads
                     WHERE head_seq > 0 AND letters = 0 AND status IN ('done', 'error', 'cancelled')
                     ORDER BY updated DESC, thread DESC",
                    [],
                    |row| Ok((row.get::<_, String>(0)?, unsigned(row.get(1)?))),
                )
            })
            .await?;
        let mut forgotten = Forgotten::default();
        for (place, (thread, updated)) in at_rest.into_iter().enumerate() {
            let too_many = retention.threads_max.is_some_and(|keep| place >= keep);
            let too_old = retention.finished_before.is_some_and(|before| updated < before.0);
            let spared = retention.spared.contains(&ThreadId(thread.clone()));
            if (too_many || too_old) && !spared {
                if self.forget_at_rest(&thread).await? {
                    forgotten.threads.push(ThreadId(thread));
                }
                continue;
            }
            let thread = ThreadId(thread);
            if let Some(keep) = retention.checkpoints_max {
                forgotten.checkpoints += self.cut_history(&thread, keep).await?;
            }
            if let Some(keep) = retention.events_max {
                forgotten.events += self.cut_journal(&thread, keep).await?;
            }
            if retention.checkpoints_max.is_some() || retention.events_max.is_some() {
                forgotten.effects += self.forget_effects(&thread).await?;
            }
        }
        forgotten.effects += self.forget_answers(retention.answers_until).await?;
        forgotten.threads.sort();
        Ok(forgotten)
    }

    /// Forgets a thread unless it woke up since it was seen at rest.
    async fn forget_at_rest(&self, thread: &str) -> Result<bool, Error> {
        let thread = thread.to_owned();
        self.writer
            .call(64, move |sql| {
                let at_rest = sql.first(
                    "SELECT 1 FROM threads WHERE thread = ?1 AND letters = 0
                       AND status IN ('done', 'error', 'cancelled')",
                    [&thread],
                    |_| Ok(()),
                )?;
                if at_rest.is_some() {
                    surgery::forget(sql, &thread)?;
                }
                Ok(at_rest.is_some())
            })
            .await
    }

    /// Forgets all journal entries but the newest `keep` and those written together with them; how many went.
    async fn cut_journal(&self, thread: &ThreadId, keep: u64) -> Result<u64, Error> {
        let thread = thread.0.clone();
        self.writer
            .call(64, move |sql| {
                let found = sql.first(
                    "SELECT id, last_event FROM threads WHERE thread = ?1",
                    [&thread],
                    |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)),
                )?;
                let Some((id, last)) = found else { return Ok(0) };
                let until = params![id, last.saturating_sub(signed(keep))];
                let gone = sql.first(
                    "SELECT coalesce(sum(last - first + 1), 0) FROM events
                     WHERE thread = ?1 AND last <= ?2",
                    until,
                    |row| row.get::<_, i64>(0),
                )?;
                sql.run("DELETE FROM events WHERE thread = ?1 AND last <= ?2", until)?;
                Ok(unsigned(gone.unwrap_or(0)))
            })
            .await
    }
}

/// Forgets the checkpoints before `first_kept`, whose channels have these `versions`, and what they alone needed.
fn cut(
    sql: &mut Sql<'_>,
    thread: &str,
    first_kept: u64,
    versions: &[(String, u64)],
) -> rusqlite::Result<u64> {
    let id = thread_id(sql, thread)?;
    let gone = sql.run(
        "DELETE FROM checkpoints WHERE thread = ?1 AND seq < ?2",
        params![id, signed(first_kept)],
    )?;
    for (channel, version) in versions {
        // The whole value that the oldest version left is built on must stay.
        sql.run(
            "DELETE FROM channel_values WHERE thread = ?1 AND channel = ?2
             AND version < (SELECT max(version) FROM channel_values
                 WHERE thread = ?1 AND channel = ?2 AND version <= ?3 AND kept = 0)",
            params![id, channel, signed(*version)],
        )?;
    }
    if gone > 0 {
        sql.run(
            "DELETE FROM runs WHERE thread = ?1
             AND run NOT IN (SELECT run FROM checkpoints WHERE thread = ?1)",
            [id],
        )?;
    }
    Ok(gone as u64)
}
