//! What the readers do: checkpoints put together from rows, journals, lists of threads.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::params;
use serde_json::Value;

use super::codec::{corrupt, decode};
use super::inbox;
use super::statements::Sql;
use super::write::{CheckpointRow, place};
use super::{Error, SqliteStore, signed, unsigned};
use crate::base::ThreadId;
use crate::runtime::{Checkpoint, Event, Named, NewEvent, Posted, RunInfo, Slot, TaskResult};

/// Which checkpoints of a thread to read.
#[derive(Clone, Copy)]
pub(super) enum Which {
    Head,
    At(u64),
    Before(Option<u64>, usize),
}

/// A checkpoint's rows.
struct Rows {
    seq: u64,
    run: String,
    data: Vec<u8>,
}

/// One link of a channel's chain of versions, newest first.
struct Link {
    version: u64,
    kept: usize,
    data: Option<Vec<u8>>,
}

/// A channel at a version, in its thread.
type ValueKey = (String, u64);

impl SqliteStore {
    /// Checkpoints of a thread, newest first.
    pub(super) async fn checkpoints(
        &self,
        thread: &ThreadId,
        which: Which,
    ) -> Result<Vec<Arc<Checkpoint>>, Error> {
        let name = thread.0.clone();
        let found = self.readers.call(move |sql| read_all(sql, &name, which)).await?;
        found?.into_iter().map(|state| Ok(Arc::new(state))).collect()
    }

    /// What a new owner of a thread needs beside its epoch.
    #[allow(clippy::type_complexity, reason = "three lists that are read in one snapshot")]
    pub(super) async fn opened(
        &self,
        thread: &ThreadId,
    ) -> Result<(Option<Arc<Checkpoint>>, Vec<Posted>, Vec<TaskResult>), Error> {
        let name = thread.0.clone();
        let (head, letters, results) = self
            .readers
            .call(move |sql| {
                let head = read_all(sql, &name, Which::Head)?;
                Ok((head, inbox::letters(sql, &name)?, results(sql, &name)?))
            })
            .await?;
        let results = results
            .into_iter()
            .map(|(node, data)| decode(&place::result(&thread.0, &node), &data))
            .collect::<Result<_, _>>()?;
        Ok((head?.into_iter().next().map(Arc::new), inbox::unpack(&thread.0, letters)?, results))
    }

    /// Journal entries after `after`.
    pub(super) async fn journal(
        &self,
        thread: &ThreadId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Event>, Error> {
        let name = thread.0.clone();
        let rows = self
            .readers
            .call(move |sql| {
                sql.all(
                    "SELECT first, mark, data FROM events
                     WHERE thread = (SELECT id FROM threads WHERE thread = ?1) AND last > ?2
                     ORDER BY last LIMIT ?3",
                    params![name, signed(after), signed(limit as u64)],
                    |row| {
                        let data: Vec<u8> = row.get(2)?;
                        Ok((unsigned(row.get(0)?), unsigned(row.get(1)?), data))
                    },
                )
            })
            .await?;
        let mut events: Vec<Event> = Vec::new();
        for (first, mark, data) in rows {
            if events.last().is_some_and(|last| last.seq + 1 != first) {
                let what = format!("journal of thread {}", thread.0);
                return Err(corrupt(&what, &format!("the row before event {first} is missing")));
            }
            let group: Vec<NewEvent> = decode(&place::events(&thread.0, mark), &data)?;
            events.extend((first..).zip(group).map(|(seq, event)| event.numbered(seq)));
        }
        events.retain(|event| event.seq > after);
        events.truncate(limit);
        Ok(events)
    }
}

/// Checkpoints put together. The outer error is SQLite's, the inner one ours: a damaged row.
pub(super) fn read_all(
    sql: &mut Sql<'_>,
    thread: &str,
    which: Which,
) -> rusqlite::Result<Result<Vec<Checkpoint>, Error>> {
    let Some((id, head)) =
        sql.first("SELECT id, head_seq FROM threads WHERE thread = ?1", [thread], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
        })?
    else {
        return Ok(Ok(Vec::new()));
    };
    let (from, below, limit) = match which {
        Which::Head => (head, head + 1, 1),
        Which::At(seq) => (signed(seq), signed(seq).saturating_add(1), 1),
        Which::Before(before, limit) => (0, before.map_or(i64::MAX, signed), signed(limit as u64)),
    };
    let rows = sql.all(
        "SELECT seq, run, data FROM checkpoints
         WHERE thread = ?1 AND seq >= ?2 AND seq < ?3 ORDER BY seq DESC LIMIT ?4",
        params![id, from, below, limit],
        |row| Ok(Rows { seq: unsigned(row.get(0)?), run: row.get(1)?, data: row.get(2)? }),
    )?;
    if let Some(error) = gap(sql, (id, thread, unsigned(head)), which, &rows)? {
        return Ok(Err(error));
    }
    let mut reader = Reader { id, thread, runs: HashMap::new(), values: HashMap::new() };
    let mut states = Vec::with_capacity(rows.len());
    for rows in rows {
        match reader.assemble(sql, rows)? {
            Ok(state) => states.push(state),
            Err(error) => return Ok(Err(error)),
        }
    }
    Ok(Ok(states))
}

/// A checkpoint that must be among `rows` and is not: a row that cannot be found any more is damage, not an end.
fn gap(
    sql: &mut Sql<'_>,
    (id, thread, head): (i64, &str, u64),
    which: Which,
    rows: &[Rows],
) -> rusqlite::Result<Option<Error>> {
    let missing = |seq: u64| corrupt(&place::checkpoint(thread, seq), "its row is missing");
    let newest = match which {
        Which::Head => head,
        Which::At(seq) => seq,
        Which::Before(before, _) => {
            before.map_or(head, |before| head.min(before.saturating_sub(1)))
        }
    };
    let numbers = rows.iter().map(|rows| rows.seq);
    let mut expected = (0..=newest).rev();
    // The rows first: at their end none of the expected is taken.
    if let Some(seq) = numbers.zip(expected.by_ref()).find_map(|(b, a)| (a != b).then_some(a)) {
        return Ok(Some(missing(seq)));
    }
    // Nothing before the oldest checkpoint is left by pruning: who finds nothing must be there, or beyond the newest.
    let wanted = match which {
        Which::Before(_, limit) if rows.len() >= limit => 0,
        _ => expected.next().unwrap_or(0),
    };
    if wanted == 0 || wanted > head || (!rows.is_empty() && !matches!(which, Which::Before(..))) {
        return Ok(None);
    }
    let older = sql.first(
        "SELECT 1 FROM checkpoints WHERE thread = ?1 AND seq <= ?2 LIMIT 1",
        params![id, signed(wanted)],
        |_| Ok(()),
    )?;
    Ok((older.is_some() || wanted == head).then(|| missing(wanted)))
}

/// Reads the rows of one thread; what checkpoints share is read once.
struct Reader<'a> {
    id: i64,
    thread: &'a str,
    runs: HashMap<String, Arc<RunInfo>>,
    values: HashMap<ValueKey, Option<Arc<Value>>>,
}

impl Reader<'_> {
    fn assemble(
        &mut self,
        sql: &mut Sql<'_>,
        rows: Rows,
    ) -> rusqlite::Result<Result<Checkpoint, Error>> {
        let place = place::checkpoint(self.thread, rows.seq);
        let row: CheckpointRow = match decode(&place, &rows.data) {
            Ok(row) => row,
            Err(error) => return Ok(Err(error)),
        };
        let run = match self.run(sql, &rows.run)? {
            Ok(run) => run,
            Err(error) => return Ok(Err(error)),
        };
        let mut channels = Named::new();
        for (channel, (version, superstep)) in row.channels {
            let value = match self.value(sql, &channel, version)? {
                Ok(value) => value,
                Err(error) => return Ok(Err(error)),
            };
            channels.insert(channel, Slot { version, superstep, value });
        }
        Ok(Ok(Checkpoint {
            thread: ThreadId(self.thread.to_owned()),
            seq: rows.seq,
            run,
            superstep: row.superstep,
            status: row.status,
            channels,
            tasks: row.tasks,
            progress: row.progress,
            grants: row.grants,
            signals: row.signals,
            error: row.error,
            at: row.at,
        }))
    }

    fn run(
        &mut self,
        sql: &mut Sql<'_>,
        run: &str,
    ) -> rusqlite::Result<Result<Arc<RunInfo>, Error>> {
        if let Some(info) = self.runs.get(run) {
            return Ok(Ok(info.clone()));
        }
        let data = sql.first(
            "SELECT data FROM runs WHERE thread = ?1 AND run = ?2",
            params![self.id, run],
            |row| row.get::<_, Vec<u8>>(0),
        )?;
        let place = place::run(run);
        let info = data
            .ok_or_else(|| corrupt(&place, "its row is missing"))
            .and_then(|data| decode::<RunInfo>(&place, &data))
            .map(Arc::new);
        if let Ok(info) = &info {
            self.runs.insert(run.to_owned(), info.clone());
        }
        Ok(info)
    }

    /// A channel's value: the newest whole value at or below `version`, and the deltas since.
    fn value(
        &mut self,
        sql: &mut Sql<'_>,
        channel: &str,
        version: u64,
    ) -> rusqlite::Result<Result<Option<Arc<Value>>, Error>> {
        let key = (channel.to_owned(), version);
        if let Some(value) = self.values.get(&key) {
            return Ok(Ok(value.clone()));
        }
        let chain = sql.all(
            "SELECT version, kept, data FROM channel_values
             WHERE thread = ?1 AND channel = ?2 AND version <= ?3 AND version >= (
                 SELECT max(version) FROM channel_values
                 WHERE thread = ?1 AND channel = ?2 AND version <= ?3 AND kept = 0)
             ORDER BY version",
            params![self.id, channel, signed(version)],
            |row| {
                let (version, kept) = (unsigned(row.get(0)?), unsigned(row.get(1)?));
                Ok(Link { version, kept: kept as usize, data: row.get(2)? })
            },
        )?;
        let value = unchain(self.thread, channel, version, chain);
        if let Ok(value) = &value {
            self.values.insert(key, value.clone());
        }
        Ok(value)
    }
}

fn unchain(
    thread: &str,
    channel: &str,
    version: u64,
    chain: Vec<Link>,
) -> Result<Option<Arc<Value>>, Error> {
    let wanted = place::value(thread, channel, version);
    if chain.last().is_none_or(|link| link.version != version) {
        return Err(corrupt(&wanted, "its row is missing"));
    }
    let mut value: Option<Value> = None;
    for link in chain {
        let place = place::value(thread, channel, link.version);
        value = match (link.data, link.kept) {
            (None, _) => None,
            (Some(data), 0) => Some(decode(&place, &data)?),
            (Some(data), kept) => {
                let added: Vec<Value> = decode(&place, &data)?;
                let Some(Value::Array(mut items)) = value else {
                    return Err(corrupt(&place, "there is no list that it continues"));
                };
                if kept > items.len() {
                    return Err(corrupt(&place, "the list that it continues is shorter"));
                }
                items.truncate(kept);
                items.extend(added);
                Some(Value::Array(items))
            }
        };
    }
    Ok(value.map(Arc::new))
}

fn results(sql: &mut Sql<'_>, thread: &str) -> rusqlite::Result<Vec<(String, Vec<u8>)>> {
    sql.all(
        "SELECT node, data FROM task_results
         WHERE thread = (SELECT id FROM threads WHERE thread = ?1) ORDER BY id",
        [thread],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )
}
