//! Operations on whole threads: fork, prune, delete.

use std::sync::Arc;

use rusqlite::params;

use super::codec::encode;
use super::read::Which;
use super::statements::Sql;
use super::write::{checkpoint_row, place, thread_id};
use super::{Error, SqliteStore, signed};
use crate::base::ThreadId;
use crate::runtime::Checkpoint;

/// A row of the copy: seq, run, checkpoint, and its new values as channel, version, data.
struct Copied {
    seq: u64,
    run: String,
    run_row: Vec<u8>,
    row: Vec<u8>,
    values: Vec<(String, u64, Option<Vec<u8>>)>,
}

impl SqliteStore {
    /// Makes `to` with the history of `from` up to `seq`. `false`: it exists, or `seq` does not.
    pub(super) async fn copy_thread(
        &self,
        from: &ThreadId,
        seq: u64,
        to: &ThreadId,
    ) -> Result<bool, Error> {
        let mut history = self.checkpoints(from, Which::Before(Some(seq + 1), usize::MAX)).await?;
        history.reverse();
        let Some(head) = history.last().filter(|head| head.seq == seq).cloned() else {
            return Ok(false);
        };
        let rows = copied(&history, &to.0)?;
        let to = to.0.clone();
        self.writer
            .call(rows.iter().map(|row| row.row.len()).sum(), move |sql| {
                let id = thread_id(sql, &to)?;
                let free = sql.run(
                    "UPDATE threads SET head_seq = ?2, status = ?3, wake_at = ?4, updated = ?5
                     WHERE id = ?1 AND head_seq = 0 AND letters = 0",
                    params![
                        id,
                        signed(head.seq),
                        head.status.name(),
                        head.wake_at().map(|at| signed(at.0)),
                        signed(head.at.0)
                    ],
                )?;
                if free == 0 {
                    return Ok(false);
                }
                rows.iter().try_for_each(|row| insert(sql, id, row))?;
                Ok(true)
            })
            .await
    }

    /// Forgets all checkpoints but the newest `keep`.
    pub(super) async fn cut_history(&self, thread: &ThreadId, keep: usize) -> Result<u64, Error> {
        let kept = self.checkpoints(thread, Which::Before(None, keep.max(1))).await?;
        let Some(oldest) = kept.last().cloned() else { return Ok(0) };
        let thread = thread.0.clone();
        self.writer
            .call(64, move |sql| {
                let id = thread_id(sql, &thread)?;
                let gone = sql.run(
                    "DELETE FROM checkpoints WHERE thread = ?1 AND seq < ?2",
                    params![id, signed(oldest.seq)],
                )?;
                for (channel, slot) in &oldest.channels {
                    // The whole value that the oldest version left is built on must stay.
                    sql.run(
                        "DELETE FROM channel_values WHERE thread = ?1 AND channel = ?2
                         AND version < (SELECT max(version) FROM channel_values
                             WHERE thread = ?1 AND channel = ?2 AND version <= ?3 AND kept = 0)",
                        params![id, channel, signed(slot.version)],
                    )?;
                }
                Ok(gone as u64)
            })
            .await
    }
}

/// Forgets a thread. Its row and its epoch stay: whoever still works on it must find itself fenced.
pub(super) fn forget(sql: &mut Sql<'_>, thread: &str) -> rusqlite::Result<()> {
    let id = thread_id(sql, thread)?;
    sql.run("DELETE FROM checkpoints WHERE thread = ?1", [id])?;
    sql.run("DELETE FROM channel_values WHERE thread = ?1", [id])?;
    sql.run("DELETE FROM events WHERE thread = ?1", [id])?;
    sql.run("DELETE FROM task_results WHERE thread = ?1", [id])?;
    sql.run("DELETE FROM inbox WHERE thread = ?1", [id])?;
    sql.run("DELETE FROM runs WHERE thread = ?1", [id])?;
    sql.run(
        "UPDATE threads SET epoch = epoch + 1, owner = '', head_seq = 0, status = 'idle',
             wake_at = NULL, updated = 0, last_event = 0, letters = 0 WHERE id = ?1",
        [id],
    )?;
    Ok(())
}

fn copied(history: &[Arc<Checkpoint>], to: &str) -> Result<Vec<Copied>, Error> {
    let mut rows = Vec::with_capacity(history.len());
    let mut before: Option<&Arc<Checkpoint>> = None;
    for state in history {
        let known = |channel: &str, version: u64| {
            before
                .and_then(|before| before.channels.get(channel))
                .is_some_and(|slot| slot.version == version)
        };
        let values = state
            .channels
            .iter()
            .filter(|(channel, slot)| !known(channel, slot.version))
            .map(|(channel, slot)| {
                let place = place::value(to, channel, slot.version);
                let value = slot.value.as_deref();
                let data = value.map(|value| encode(&place, value)).transpose()?;
                Ok((channel.clone(), slot.version, data))
            })
            .collect::<Result<_, Error>>()?;
        let run = state.run.id.0.clone();
        rows.push(Copied {
            seq: state.seq,
            run_row: encode(&place::run(&run), &*state.run)?,
            run,
            row: encode(&place::checkpoint(to, state.seq), &checkpoint_row(state))?,
            values,
        });
        before = Some(state);
    }
    Ok(rows)
}

fn insert(sql: &mut Sql<'_>, thread: i64, copied: &Copied) -> rusqlite::Result<()> {
    sql.run(
        "INSERT INTO runs (thread, run, data) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
        params![thread, copied.run, copied.run_row],
    )?;
    sql.run(
        "INSERT INTO checkpoints (thread, seq, run, data) VALUES (?1, ?2, ?3, ?4)",
        params![thread, signed(copied.seq), copied.run, copied.row],
    )?;
    for (channel, version, data) in &copied.values {
        sql.run(
            "INSERT INTO channel_values (thread, channel, version, kept, data)
             VALUES (?1, ?2, ?3, 0, ?4)",
            params![thread, channel, signed(*version), data],
        )?;
    }
    Ok(())
}
