//! The ledger of side effects, and the answers that are remembered beside it.

use rusqlite::params;
use serde_json::Value;

use super::codec::encode;
use super::statements::Sql;
use super::write::{owned, place};
use super::{Error, SqliteStore, signed};
use crate::base::{EffectKey, Millis, ThreadId};
use crate::runtime::{Begun, Epoch};

impl SqliteStore {
    /// See [`crate::runtime::CheckpointStore::effect_begin`]. The inner error is the result of an effect that is done.
    pub(super) async fn begin_effect(
        &self,
        thread: &ThreadId,
        epoch: Epoch,
        key: &EffectKey,
        policy: &str,
    ) -> Result<Result<Begun, Vec<u8>>, Error> {
        let (thread, key, policy) = (thread.0.clone(), key.0.clone(), policy.to_owned());
        self.writer.call(64, move |sql| begin(sql, &thread, epoch, &key, &policy)).await
    }

    /// Notes how an effect ended.
    pub(super) async fn finish_effect(
        &self,
        key: &EffectKey,
        result: &Value,
        until: Option<Millis>,
    ) -> Result<(), Error> {
        let data = encode(&place::effect(&key.0), result)?;
        let key = key.0.clone();
        self.writer.call(data.len(), move |sql| end(sql, &key, &data, until)).await
    }

    /// Forgets the effects of a thread whose run is done or cancelled: none of its runs can make them again. How many went.
    pub(super) async fn forget_effects(&self, thread: &ThreadId) -> Result<u64, Error> {
        let thread = thread.0.clone();
        self.writer
            .call(64, move |sql| {
                let gone = sql.run(
                    "DELETE FROM effects WHERE until IS NULL AND thread = (SELECT id FROM threads
                         WHERE thread = ?1 AND letters = 0 AND status IN ('done', 'cancelled'))",
                    [thread],
                )?;
                Ok(gone as u64)
            })
            .await
    }

    /// Forgets remembered answers whose time is over, at `moment` too where one is given. How many went.
    pub(super) async fn forget_answers(&self, moment: Option<Millis>) -> Result<u64, Error> {
        self.writer.call(64, move |sql| drop_answers(sql, moment)).await
    }
}

/// Notes that an effect begins, unless it is known.
fn begin(
    sql: &mut Sql<'_>,
    thread: &str,
    epoch: Epoch,
    key: &str,
    policy: &str,
) -> rusqlite::Result<Result<Begun, Vec<u8>>> {
    let Some(id) = owned(sql, thread, epoch)? else { return Ok(Ok(Begun::Fenced)) };
    let known = sql.first("SELECT data, thread FROM effects WHERE key = ?1", [key], |row| {
        Ok((row.get::<_, Option<Vec<u8>>>(0)?, row.get::<_, Option<i64>>(1)?))
    })?;
    let Some((data, owner)) = known else {
        if is_listed(sql, id, key)? {
            return Err(damaged(key));
        }
        let new = params![key, policy, id];
        sql.run("INSERT INTO effects (key, policy, thread) VALUES (?1, ?2, ?3)", new)?;
        return Ok(Ok(Begun::Fresh));
    };
    if owner.is_none() {
        // Of a time when nobody wrote down whose it is: now it is known.
        sql.run("UPDATE effects SET thread = ?2 WHERE key = ?1", params![key, id])?;
    }
    Ok(data.map_or(Ok(Begun::InDoubt), Err))
}

/// Whether the thread's own list has the effect: an index that is damaged may not lead to it.
fn is_listed(sql: &mut Sql<'_>, thread: i64, key: &str) -> rusqlite::Result<bool> {
    let listed = sql.first(
        "SELECT 1 FROM effects INDEXED BY effects_thread WHERE thread = ?1 AND key = ?2",
        params![thread, key],
        |_| Ok(()),
    )?;
    Ok(listed.is_some())
}

fn damaged(key: &str) -> rusqlite::Error {
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
    let what = format!("{}: an index does not lead to it", place::effect(key));
    rusqlite::Error::SqliteFailure(code, Some(what))
}

/// Notes how an effect ended; one whose thread was forgotten meanwhile stays forgotten.
pub(super) fn end(
    sql: &mut Sql<'_>,
    key: &str,
    data: &[u8],
    until: Option<Millis>,
) -> rusqlite::Result<()> {
    let until = until.map(|until| signed(until.0));
    sql.run("UPDATE effects SET data = ?2, until = ?3 WHERE key = ?1", params![key, data, until])?;
    Ok(())
}

/// Forgets answers that were over when their thread last changed, or at `moment`.
pub(super) fn drop_answers(sql: &mut Sql<'_>, moment: Option<Millis>) -> rusqlite::Result<u64> {
    let moment = moment.map(|moment| signed(moment.0));
    let gone = sql.run(
        "DELETE FROM effects WHERE until IS NOT NULL AND (until <= ?1
             OR until <= (SELECT updated FROM threads WHERE threads.id = effects.thread))",
        params![moment],
    )?;
    Ok(gone as u64)
}
