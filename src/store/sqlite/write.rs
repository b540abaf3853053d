//! What the writer does: epochs, commits, pending results.

use std::collections::BTreeMap;

use rusqlite::params;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::codec::encode;
use super::statements::Sql;
use super::{Error, SqliteStore, effects, signed, unsigned};
use crate::base::{EffectKey, Millis, ThreadId};
use crate::runtime::{
    Checkpoint, Commit, Committed, Epoch, Grant, NewEvent, Progress, RunError, Status, Task,
    TaskResult, Verdict,
};

/// Versions of a list between two that are written whole, where it is short. See [`is_snapshot`].
const SNAPSHOT_EVERY: u64 = 50;

/// A checkpoint without its values and without what all checkpoints of its run share.
#[derive(Serialize, Deserialize)]
pub(super) struct CheckpointRow {
    pub(super) superstep: u64,
    pub(super) status: Status,
    pub(super) at: Millis,
    /// Channel → version, superstep of the last change.
    pub(super) channels: BTreeMap<String, (u64, u64)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) tasks: Vec<Task>,
    pub(super) progress: Progress,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) grants: Vec<Grant>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) signals: Vec<(String, Value)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<Box<RunError>>,
}

/// A commit as the writer gets it: everything encoded already.
struct PackedCommit {
    thread: String,
    epoch: u64,
    parent_seq: u64,
    seq: u64,
    run: String,
    /// Present with the first checkpoint of a run.
    run_row: Option<Vec<u8>>,
    row: Vec<u8>,
    /// Channel, version, kept, data.
    values: Vec<(String, u64, usize, Option<Vec<u8>>)>,
    status: &'static str,
    wake_at: Option<u64>,
    updated: u64,
    events: Option<PackedEvents>,
    applied: Vec<u64>,
    inbox_read_to: Option<u64>,
    effects: Vec<(String, Option<Vec<u8>>)>,
    closes_superstep: bool,
}

/// Journal entries of one write.
pub(super) struct PackedEvents {
    count: u64,
    /// Part of the row's place for its checksum: the number it will get is not known yet.
    mark: u64,
    data: Vec<u8>,
}

/// Places of rows, for their checksums.
pub(super) mod place {
    pub(in super::super) fn checkpoint(thread: &str, seq: u64) -> String {
        format!("checkpoint {seq} of thread {thread}")
    }
    pub(in super::super) fn run(run: &str) -> String {
        format!("run {run}")
    }
    pub(in super::super) fn value(thread: &str, channel: &str, version: u64) -> String {
        format!("channel {channel} version {version} of thread {thread}")
    }
    pub(in super::super) fn events(thread: &str, mark: u64) -> String {
        format!("events {mark} of thread {thread}")
    }
    pub(in super::super) fn result(thread: &str, node: &str) -> String {
        format!("result of node {node} of thread {thread}")
    }
    pub(in super::super) fn effect(key: &str) -> String {
        format!("effect {key}")
    }
}

impl SqliteStore {
    /// Takes a thread over; its new epoch.
    pub(super) async fn take_over(&self, thread: &ThreadId, owner: &str) -> Result<Epoch, Error> {
        let (thread, owner) = (thread.0.clone(), owner.to_owned());
        let epoch = self
            .writer
            .call(64, move |sql| {
                let id = thread_id(sql, &thread)?;
                sql.first(
                    "UPDATE threads SET epoch = epoch + 1, owner = ?2 WHERE id = ?1 RETURNING epoch",
                    params![id, owner],
                    |row| row.get::<_, i64>(0),
                )
            })
            .await?;
        Ok(Epoch(unsigned(epoch.unwrap_or(0))))
    }

    /// See [`crate::runtime::CheckpointStore::commit`].
    pub(super) async fn write_commit(&self, commit: Commit) -> Result<Committed, Error> {
        let packed = pack(&commit)?;
        let bytes = packed.row.len()
            + packed
                .values
                .iter()
                .filter_map(|value| value.3.as_ref())
                .map(Vec::len)
                .sum::<usize>()
            + packed.events.as_ref().map_or(0, |events| events.data.len());
        self.writer.call(bytes, move |sql| write_packed(sql, &packed)).await
    }

    /// Keeps the result of one task, and events. `false`: fenced.
    pub(super) async fn write_result(
        &self,
        thread: &ThreadId,
        epoch: Epoch,
        result: Option<&TaskResult>,
        events: Vec<NewEvent>,
    ) -> Result<bool, Error> {
        let thread = thread.0.clone();
        let result = result
            .map(|result| {
                let place = place::result(&thread, &result.node);
                encode(&place, result).map(|data| (result.node.clone(), data))
            })
            .transpose()?;
        let events = pack_events(&thread, &events)?;
        let bytes = result.as_ref().map_or(0, |(_, data)| data.len())
            + events.as_ref().map_or(0, |events| events.data.len());
        self.writer
            .call(bytes, move |sql| {
                let Some(id) = owned(sql, &thread, epoch)? else { return Ok(false) };
                if let Some((node, data)) = &result {
                    sql.run(
                        "INSERT INTO task_results (thread, node, data) VALUES (?1, ?2, ?3)
                         ON CONFLICT (thread, node) DO UPDATE SET data = excluded.data",
                        params![id, node, data],
                    )?;
                }
                if let Some(events) = &events {
                    let last = sql.first(
                        "UPDATE threads SET last_event = last_event + ?2 WHERE id = ?1
                         RETURNING last_event",
                        params![id, signed(events.count)],
                        |row| row.get(0),
                    )?;
                    write_events(sql, id, last.unwrap_or(0), events)?;
                }
                Ok(true)
            })
            .await
    }
}

/// The row of `thread`, made if there is none.
pub(super) fn thread_id(sql: &mut Sql<'_>, thread: &str) -> rusqlite::Result<i64> {
    let found =
        sql.first("SELECT id FROM threads WHERE thread = ?1", [thread], |row| row.get(0))?;
    if let Some(id) = found {
        return Ok(id);
    }
    sql.run(
        "INSERT INTO threads (thread, epoch, owner, head_seq, status, updated, last_event, letters)
         VALUES (?1, 0, '', 0, 'idle', 0, 0, 0)",
        [thread],
    )?;
    Ok(sql.last_id())
}

/// The row of `thread` if `epoch` is its newest.
pub(super) fn owned(
    sql: &mut Sql<'_>,
    thread: &str,
    epoch: Epoch,
) -> rusqlite::Result<Option<i64>> {
    sql.first(
        "SELECT id FROM threads WHERE thread = ?1 AND epoch = ?2",
        params![thread, signed(epoch.0)],
        |row| row.get(0),
    )
}

fn pack(commit: &Commit) -> Result<PackedCommit, Error> {
    let state = &*commit.checkpoint;
    let (thread, run) = (state.thread.0.clone(), state.run.id.0.clone());
    // Every checkpoint whose parent is not of its run begins one.
    let begins = state.run.parent_seq == commit.parent_seq;
    let run_row = begins.then(|| encode(&place::run(&run), &*state.run)).transpose()?;
    let values = commit
        .changed
        .iter()
        .filter_map(|change| Some((change, state.channels.get(&change.channel)?)))
        .map(|(change, slot)| {
            let place = place::value(&thread, &change.channel, slot.version);
            let items = slot.value.as_deref().and_then(Value::as_array).map_or(0, Vec::len);
            let kept = if is_snapshot(slot.version, items) { 0 } else { change.kept };
            let data = match slot.value.as_deref() {
                None => None,
                Some(Value::Array(items)) if kept > 0 && kept <= items.len() => {
                    Some(encode(&place, &items[kept..])?)
                }
                Some(value) => Some(encode(&place, value)?),
            };
            let kept = if data.is_none() { 0 } else { kept };
            Ok((change.channel.clone(), slot.version, kept, data))
        })
        .collect::<Result<_, Error>>()?;
    let verdict = |(key, verdict): &(EffectKey, Verdict)| {
        let data = match verdict {
            Verdict::NotDone => None,
            Verdict::Done(result) => Some(encode(&place::effect(&key.0), result)?),
        };
        Ok((key.0.clone(), data))
    };
    Ok(PackedCommit {
        epoch: commit.epoch.0,
        parent_seq: commit.parent_seq,
        seq: state.seq,
        run_row,
        row: encode(&place::checkpoint(&thread, state.seq), &checkpoint_row(state))?,
        values,
        status: state.status.name(),
        wake_at: state.wake_at().map(|at| at.0),
        updated: state.at.0,
        events: pack_events(&thread, &commit.events)?,
        applied: commit.applied.clone(),
        inbox_read_to: commit.inbox_read_to,
        effects: commit.effects.iter().map(verdict).collect::<Result<_, Error>>()?,
        closes_superstep: commit.closes_superstep,
        thread,
        run,
    })
}

/// Whether a list of so many elements is written whole at `version`: every 50th time while it is short, every 100th, 200th …
/// time as it grows.
///
/// So whole lists take no more room than the elements that were added, and a chain of deltas has at most twice as many links
/// as the list has elements, or 50: reading it costs what the list itself costs.
fn is_snapshot(version: u64, items: usize) -> bool {
    let nth = version / SNAPSHOT_EVERY;
    let span = SNAPSHOT_EVERY << nth.trailing_zeros().min(32);
    version.is_multiple_of(SNAPSHOT_EVERY) && nth > 0 && span >= items as u64
}

fn checkpoint_row(state: &Checkpoint) -> CheckpointRow {
    let place = |(name, slot): (&str, &crate::runtime::Slot)| {
        (name.to_owned(), (slot.version, slot.superstep))
    };
    CheckpointRow {
        superstep: state.superstep,
        status: state.status,
        at: state.at,
        channels: state.channels.iter().map(place).collect(),
        tasks: state.tasks.clone(),
        progress: state.progress.clone(),
        grants: state.grants.clone(),
        signals: state.signals.clone(),
        error: state.error.clone(),
    }
}

fn pack_events(thread: &str, events: &[NewEvent]) -> Result<Option<PackedEvents>, Error> {
    let (Some(first), Some(last)) = (events.first(), events.last()) else { return Ok(None) };
    let mark = first.at.0.wrapping_mul(31).wrapping_add(last.at.0) & (u64::MAX >> 1);
    let data = encode(&place::events(thread, mark), events)?;
    Ok(Some(PackedEvents { count: events.len() as u64, mark, data }))
}

fn write_packed(sql: &mut Sql<'_>, commit: &PackedCommit) -> rusqlite::Result<Committed> {
    let found = sql.first(
        "SELECT id, epoch, head_seq, last_event FROM threads WHERE thread = ?1",
        [&commit.thread],
        |row| {
            Ok((
                row.get::<_, i64>(0)?,
                row.get::<_, i64>(1)?,
                row.get::<_, i64>(2)?,
                row.get::<_, i64>(3)?,
            ))
        },
    )?;
    let Some((id, epoch, head_seq, last_event)) = found else { return Ok(Committed::Fenced) };
    if unsigned(epoch) != commit.epoch {
        return Ok(Committed::Fenced);
    }
    if unsigned(head_seq) != commit.parent_seq || has_newer_letter(sql, id, commit.inbox_read_to)? {
        return Ok(Committed::Stale);
    }
    if let Some(row) = &commit.run_row {
        sql.run(
            "INSERT INTO runs (thread, run, data) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
            params![id, commit.run, row],
        )?;
    }
    sql.run(
        "INSERT INTO checkpoints (thread, seq, run, data) VALUES (?1, ?2, ?3, ?4)",
        params![id, signed(commit.seq), commit.run, commit.row],
    )?;
    for (channel, version, kept, data) in &commit.values {
        sql.run(
            "INSERT INTO channel_values (thread, channel, version, kept, data)
             VALUES (?1, ?2, ?3, ?4, ?5)",
            params![id, channel, signed(*version), signed(*kept as u64), data],
        )?;
    }
    let last: i64 = last_event + commit.events.as_ref().map_or(0, |events| signed(events.count));
    if let Some(events) = &commit.events {
        write_events(sql, id, last, events)?;
    }
    for letter in &commit.applied {
        super::inbox::mark_applied(sql, id, signed(*letter))?;
    }
    for (key, data) in &commit.effects {
        match data {
            Some(data) => effects::end(sql, key, data, None)?,
            None => sql.run("DELETE FROM effects WHERE key = ?1", [key]).map(|_| ())?,
        }
    }
    if commit.closes_superstep {
        sql.run("DELETE FROM task_results WHERE thread = ?1", [id])?;
    }
    sql.run(
        "UPDATE threads SET head_seq = ?2, status = ?3, wake_at = ?4, updated = ?5, last_event = ?6
         WHERE id = ?1",
        params![
            id,
            signed(commit.seq),
            commit.status,
            commit.wake_at.map(signed),
            signed(commit.updated),
            last
        ],
    )?;
    Ok(Committed::Committed)
}

fn has_newer_letter(
    sql: &mut Sql<'_>,
    thread: i64,
    read_to: Option<u64>,
) -> rusqlite::Result<bool> {
    let Some(read_to) = read_to else { return Ok(false) };
    let newer = sql.first(
        "SELECT 1 FROM inbox WHERE thread = ?1 AND applied = 0 AND id > ?2 LIMIT 1",
        params![thread, signed(read_to)],
        |_| Ok(()),
    )?;
    Ok(newer.is_some())
}

fn write_events(
    sql: &mut Sql<'_>,
    thread: i64,
    last: i64,
    events: &PackedEvents,
) -> rusqlite::Result<()> {
    let first = last - signed(events.count) + 1;
    sql.run(
        "INSERT INTO events (thread, first, last, mark, data) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![thread, first, last, signed(events.mark), events.data],
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Elements in whole lists, elements in deltas, and the longest chain of deltas of a list that begins with `length`
    /// elements and gets `growth` more with every version.
    fn kept(length: usize, growth: usize) -> (usize, usize, u64) {
        let (mut whole, mut delta, mut since, mut longest) = (0, 0, 0, 0);
        for version in 2..=20_000_u64 {
            let items = length + growth * version as usize;
            if is_snapshot(version, items) {
                (whole, since) = (whole + items, 0);
            } else {
                (delta, since) = (delta + growth.max(1), since + 1);
                assert!(
                    since <= 50.max(2 * items as u64),
                    "a chain of {since} for {items} elements"
                );
                longest = longest.max(since);
            }
        }
        (whole, delta, longest)
    }

    #[test]
    fn whole_lists_take_no_more_room_than_what_was_added_and_chains_stay_short() {
        for (length, growth) in [(0, 1), (0, 2), (3, 0), (70, 0), (1_000, 0), (10, 5)] {
            let (whole, delta, longest) = kept(length, growth);
            assert!(whole <= 2 * delta + 60, "{whole} whole, {delta} added");
            assert!(growth > 0 || longest < 50.max(2 * length as u64), "{longest}");
        }
        assert!(
            !is_snapshot(1, 0)
                && !is_snapshot(49, 0)
                && is_snapshot(50, 50)
                && !is_snapshot(50, 51)
        );
    }
}
