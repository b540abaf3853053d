//! Letters.

use rusqlite::params;

use super::codec::{decode, encode};
use super::statements::Sql;
use super::write::thread_id;
use super::{Error, SqliteStore, signed, unsigned};
use crate::base::{Millis, ThreadId};
use crate::runtime::{Letter, PostOutcome, Posted};

impl SqliteStore {
    /// Puts a letter in a thread's inbox.
    pub(super) async fn post(
        &self,
        thread: &ThreadId,
        letter: &Letter,
        at: Millis,
        dedupe: Option<&str>,
    ) -> Result<PostOutcome, Error> {
        let data = encode(&place(&thread.0, at), letter)?;
        let (thread, dedupe) = (thread.0.clone(), dedupe.map(str::to_owned));
        self.writer
            .call(data.len(), move |sql| {
                let id = thread_id(sql, &thread)?;
                let inserted = sql.run(
                    "INSERT INTO inbox (thread, at, applied, dedupe, data)
                     VALUES (?1, ?2, 0, ?3, ?4) ON CONFLICT DO NOTHING",
                    params![id, signed(at.0), dedupe, data],
                )?;
                if inserted == 0 {
                    return Ok(PostOutcome::Duplicate);
                }
                let letter = sql.last_id();
                sql.run(
                    "UPDATE threads SET letters = letters + 1, updated = max(updated, ?2)
                     WHERE id = ?1",
                    params![id, signed(at.0)],
                )?;
                Ok(PostOutcome::Accepted(unsigned(letter)))
            })
            .await
    }

    /// Letters not yet applied, oldest first.
    pub(super) async fn open_letters(&self, thread: &ThreadId) -> Result<Vec<Posted>, Error> {
        let id = thread.0.clone();
        let rows = self.readers.call(move |sql| letters(sql, &id)).await?;
        unpack(&thread.0, rows)
    }
}

/// An unapplied letter as it lies in the file: id, time, data.
pub(super) type Row = (u64, u64, Vec<u8>);

/// Rows of the letters not yet applied, oldest first.
pub(super) fn letters(sql: &mut Sql<'_>, thread: &str) -> rusqlite::Result<Vec<Row>> {
    sql.all(
        "SELECT id, at, data FROM inbox
         WHERE thread = (SELECT id FROM threads WHERE thread = ?1) AND applied = 0 ORDER BY id",
        [thread],
        |row| Ok((unsigned(row.get(0)?), unsigned(row.get(1)?), row.get(2)?)),
    )
}

/// Letters of `rows`.
pub(super) fn unpack(thread: &str, rows: Vec<Row>) -> Result<Vec<Posted>, Error> {
    rows.into_iter()
        .map(|(id, at, data)| {
            let at = Millis(at);
            Ok(Posted { id, at, letter: decode(&place(thread, at), &data)? })
        })
        .collect()
}

/// A letter has been applied. One with a dedupe key leaves that behind, for ever.
pub(super) fn mark_applied(sql: &mut Sql<'_>, thread: i64, letter: i64) -> rusqlite::Result<()> {
    let kept = sql.run(
        "UPDATE inbox SET applied = 1, data = NULL
         WHERE thread = ?1 AND id = ?2 AND applied = 0 AND dedupe IS NOT NULL",
        params![thread, letter],
    )?;
    let gone = sql.run(
        "DELETE FROM inbox WHERE thread = ?1 AND id = ?2 AND applied = 0",
        params![thread, letter],
    )?;
    if kept + gone > 0 {
        sql.run("UPDATE threads SET letters = letters - 1 WHERE id = ?1", [thread])?;
    }
    Ok(())
}

pub(super) fn place(thread: &str, at: Millis) -> String {
    format!("letter of {at} to thread {thread}", at = at.0)
}
