//! Operations on whole threads: fork, delete.

use rusqlite::params;

use super::codec::moved;
use super::read::Which;
use super::statements::Sql;
use super::write::{place, thread_id};
use super::{Error, SqliteStore, signed, unsigned};
use crate::base::ThreadId;

/// The rows of a thread up to a checkpoint, as they lie in the file. A copy needs a new checksum for each, and no more.
#[derive(Default)]
struct Rows {
    /// Run, data.
    runs: Vec<(String, Vec<u8>)>,
    /// Seq, run, data.
    checkpoints: Vec<(u64, String, Vec<u8>)>,
    /// Channel, version, kept, data.
    values: Vec<(String, u64, i64, Option<Vec<u8>>)>,
    /// Node, data; of the open superstep, if the checkpoint is the newest.
    results: Vec<(String, Vec<u8>)>,
}

impl SqliteStore {
    /// Makes `to` with the history of `from` up to `seq`. `false`: it exists, or `seq` does not.
    pub(super) async fn copy_thread(
        &self,
        from: &ThreadId,
        seq: u64,
        to: &ThreadId,
    ) -> Result<bool, Error> {
        let Some(head) = self.checkpoints(from, Which::At(seq)).await?.into_iter().next() else {
            return Ok(false);
        };
        let name = from.0.clone();
        let versions: Vec<(String, u64)> = head
            .channels
            .iter()
            .map(|(channel, slot)| (channel.to_owned(), slot.version))
            .collect();
        let rows = self.readers.call(move |sql| read_rows(sql, &name, seq, &versions)).await?;
        let rows = renamed(rows, &from.0, &to.0)?;
        let bytes = rows.checkpoints.iter().map(|(.., data)| data.len()).sum();
        let to = to.0.clone();
        self.writer
            .call(bytes, move |sql| {
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
                insert(sql, id, &rows)?;
                Ok(true)
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
    sql.run("DELETE FROM effects WHERE thread = ?1", [id])?;
    sql.run(
        "UPDATE threads SET epoch = epoch + 1, owner = '', head_seq = 0, status = 'idle',
             wake_at = NULL, updated = 0, last_event = 0, letters = 0 WHERE id = ?1",
        [id],
    )?;
    Ok(())
}

fn read_rows(
    sql: &mut Sql<'_>,
    from: &str,
    seq: u64,
    versions: &[(String, u64)],
) -> rusqlite::Result<Rows> {
    let thread = "SELECT id, head_seq FROM threads WHERE thread = ?1";
    let found = sql.first(thread, [from], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let Some((id, head_seq)): Option<(i64, i64)> = found else { return Ok(Rows::default()) };
    let checkpoints = sql.all(
        "SELECT seq, run, data FROM checkpoints WHERE thread = ?1 AND seq <= ?2 ORDER BY seq",
        params![id, signed(seq)],
        |row| Ok((unsigned(row.get(0)?), row.get(1)?, row.get(2)?)),
    )?;
    let runs = sql.all(
        "SELECT run, data FROM runs WHERE thread = ?1 AND run IN
             (SELECT run FROM checkpoints WHERE thread = ?1 AND seq <= ?2) ORDER BY id",
        params![id, signed(seq)],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    let mut values = Vec::new();
    for (channel, version) in versions {
        values.extend(sql.all(
            "SELECT channel, version, kept, data FROM channel_values
             WHERE thread = ?1 AND channel = ?2 AND version <= ?3 ORDER BY version",
            params![id, channel, signed(*version)],
            |row| Ok((row.get(0)?, unsigned(row.get(1)?), row.get(2)?, row.get(3)?)),
        )?);
    }
    let results = if head_seq == signed(seq) {
        let text = "SELECT node, data FROM task_results WHERE thread = ?1 ORDER BY id";
        sql.all(text, [id], |row| Ok((row.get(0)?, row.get(1)?)))?
    } else {
        Vec::new()
    };
    Ok(Rows { runs, checkpoints, values, results })
}

fn renamed(mut rows: Rows, from: &str, to: &str) -> Result<Rows, Error> {
    for (seq, _, data) in &mut rows.checkpoints {
        *data = moved(&place::checkpoint(from, *seq), &place::checkpoint(to, *seq), data)?;
    }
    for (channel, version, _, data) in &mut rows.values {
        let places = (place::value(from, channel, *version), place::value(to, channel, *version));
        if let Some(data) = data {
            *data = moved(&places.0, &places.1, data)?;
        }
    }
    for (node, data) in &mut rows.results {
        *data = moved(&place::result(from, node), &place::result(to, node), data)?;
    }
    Ok(rows)
}

fn insert(sql: &mut Sql<'_>, thread: i64, rows: &Rows) -> rusqlite::Result<()> {
    for (run, data) in &rows.runs {
        sql.run(
            "INSERT INTO runs (thread, run, data) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
            params![thread, run, data],
        )?;
    }
    for (seq, run, data) in &rows.checkpoints {
        sql.run(
            "INSERT INTO checkpoints (thread, seq, run, data) VALUES (?1, ?2, ?3, ?4)",
            params![thread, signed(*seq), run, data],
        )?;
    }
    for (channel, version, kept, data) in &rows.values {
        sql.run(
            "INSERT INTO channel_values (thread, channel, version, kept, data)
             VALUES (?1, ?2, ?3, ?4, ?5)",
            params![thread, channel, signed(*version), kept, data],
        )?;
    }
    for (node, data) in &rows.results {
        sql.run(
            "INSERT INTO task_results (thread, node, data) VALUES (?1, ?2, ?3)",
            params![thread, node, data],
        )?;
    }
    Ok(())
}
