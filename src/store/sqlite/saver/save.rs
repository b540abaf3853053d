//! Writing: a checkpoint with its new values, and writes.

use std::collections::BTreeMap;

use rusqlite::params;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::find::Values;
use super::{known_scope, place, scope_id};
use crate::store::saver::{NewCheckpoint, SavedWrite, Scope};
use crate::store::sqlite::codec::{encode, seal, seal_delta};
use crate::store::sqlite::statements::Sql;
use crate::store::sqlite::{Error, SqliteStore};

/// A whole value at least every so many versions.
const CHAIN_MAX: i64 = 50;

/// What a checkpoint can be found by, and how its body is written.
#[derive(Serialize, Deserialize)]
pub(super) struct Meta {
    pub(super) kind: String,
    pub(super) metadata: Map<String, Value>,
}

/// A checkpoint as the writer gets it.
struct Packed {
    scope: Scope,
    id: String,
    parent: Option<String>,
    run: Option<String>,
    meta: Vec<u8>,
    body: Vec<u8>,
    versions: BTreeMap<String, String>,
    values: BTreeMap<String, PackedValue>,
}

/// A value as the writer gets it; without data: the channel is empty.
struct PackedValue {
    kind: String,
    /// The row it continues, with its place in the chain.
    base: Option<(i64, i64)>,
    data: Option<Vec<u8>>,
}

impl SqliteStore {
    pub(super) async fn write_saved(&self, new: NewCheckpoint) -> Result<(), Error> {
        let bases = self.bases(&new).await?;
        if self.write_packed_saved(pack(&new, &bases)?).await? {
            return Ok(());
        }
        // What it would have continued was forgotten meanwhile: it stands on its own now.
        self.write_packed_saved(pack(&new, &BTreeMap::new())?).await.map(|_| ())
    }

    /// `false`: a value continues one that is gone.
    async fn write_packed_saved(&self, packed: Packed) -> Result<bool, Error> {
        let values = packed.values.values().filter_map(|value| value.data.as_ref());
        let bytes = packed.body.len() + packed.meta.len() + values.map(Vec::len).sum::<usize>();
        self.writer.call(bytes, move |sql| insert(sql, &packed)).await
    }

    /// For each channel with a new value: the row before it, its place in the chain and its content.
    async fn bases(
        &self,
        new: &NewCheckpoint,
    ) -> Result<BTreeMap<String, (i64, i64, Vec<u8>)>, Error> {
        let (scope, parent) = (new.checkpoint.scope.clone(), new.checkpoint.parent.clone());
        let filled = new.values.iter().filter(|(_, value)| value.is_some());
        let channels: Vec<String> = filled.map(|(channel, _)| channel.clone()).collect();
        let (rows, mut values) = self
            .readers
            .call(move |sql| {
                let (mut rows, mut values) = (Vec::new(), Values::new(scope.clone()));
                let Some(id) = known_scope(sql, &scope)? else { return Ok((rows, values)) };
                for channel in channels {
                    if let Some((row, depth)) = newest(sql, id, parent.as_deref(), &channel)? {
                        values.fetch(sql, row)?;
                        rows.push((channel, row, depth));
                    }
                }
                Ok((rows, values))
            })
            .await?;
        rows.into_iter()
            .filter(|(.., depth)| depth + 1 < CHAIN_MAX)
            .map(|(channel, row, depth)| Ok((channel, (row, depth, values.content(row)?.to_vec()))))
            .collect()
    }

    pub(super) async fn write_saved_writes(
        &self,
        scope: &Scope,
        checkpoint: &str,
        writes: Vec<SavedWrite>,
    ) -> Result<(), Error> {
        let (scope, checkpoint) = (scope.clone(), checkpoint.to_owned());
        let packed: Vec<(SavedWrite, Vec<u8>)> = writes
            .into_iter()
            .map(|mut write| {
                let bytes = std::mem::take(&mut write.value.bytes);
                let data = seal(&write_place(&scope, &checkpoint, &write), bytes);
                (write, data)
            })
            .collect();
        let bytes = packed.iter().map(|(_, data)| data.len()).sum();
        self.writer
            .call(bytes, move |sql| {
                let id = scope_id(sql, &scope)?;
                packed
                    .iter()
                    .try_for_each(|(write, data)| insert_write(sql, id, &checkpoint, write, data))
            })
            .await
    }
}

pub(super) fn write_place(scope: &Scope, checkpoint: &str, write: &SavedWrite) -> String {
    let columns = (&*write.task, write.index, &*write.channel, &*write.value.kind);
    place::write(scope, checkpoint, columns)
}

pub(super) fn insert_write(
    sql: &mut Sql<'_>,
    scope: i64,
    checkpoint: &str,
    write: &SavedWrite,
    data: &[u8],
) -> rusqlite::Result<()> {
    sql.run(
        "INSERT INTO saved_writes (scope, checkpoint, task, idx, path, channel, kind, data)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
         ON CONFLICT (scope, checkpoint, task, idx) DO UPDATE SET
           path = excluded.path, channel = excluded.channel, kind = excluded.kind,
           data = excluded.data
         WHERE excluded.idx < 0",
        params![
            scope,
            checkpoint,
            write.task,
            write.index,
            write.path,
            write.channel,
            write.value.kind,
            data
        ],
    )?;
    Ok(())
}

/// The row a channel's next value is likeliest to continue: the parent's, else the newest.
fn newest(
    sql: &mut Sql<'_>,
    scope: i64,
    parent: Option<&str>,
    channel: &str,
) -> rusqlite::Result<Option<(i64, i64)>> {
    let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
    let of_parent = sql.first(
        "SELECT v.id, v.depth FROM saved_checkpoints c
         JOIN saved_refs r ON r.checkpoint = c.id JOIN saved_values v ON v.id = r.value
         WHERE c.scope = ?1 AND c.checkpoint = ?2 AND v.channel = ?3 AND v.data IS NOT NULL",
        params![scope, parent, channel],
        read,
    )?;
    if of_parent.is_some() {
        return Ok(of_parent);
    }
    sql.first(
        "SELECT id, depth FROM saved_values
         WHERE scope = ?1 AND channel = ?2 AND data IS NOT NULL ORDER BY id DESC LIMIT 1",
        params![scope, channel],
        read,
    )
}

fn pack(
    new: &NewCheckpoint,
    bases: &BTreeMap<String, (i64, i64, Vec<u8>)>,
) -> Result<Packed, Error> {
    let checkpoint = &new.checkpoint;
    let (scope, id) = (&checkpoint.scope, &checkpoint.id);
    let meta = Meta { kind: checkpoint.body.kind.clone(), metadata: checkpoint.metadata.clone() };
    let mut values = BTreeMap::new();
    for (channel, value) in &new.values {
        let Some(version) = new.versions.get(channel) else { continue };
        let Some(blob) = value else {
            let empty = PackedValue { kind: String::new(), base: None, data: None };
            values.insert(channel.clone(), empty);
            continue;
        };
        let place = place::value(scope, channel, version, &blob.kind);
        let delta = bases.get(channel).and_then(|(row, depth, content)| {
            Some(((*row, *depth), seal_delta(&place, &blob.bytes, content)?))
        });
        let (base, data) = match delta {
            Some((base, data)) => (Some(base), data),
            None => (None, seal(&place, blob.bytes.clone())),
        };
        let packed = PackedValue { kind: blob.kind.clone(), base, data: Some(data) };
        values.insert(channel.clone(), packed);
    }
    Ok(Packed {
        scope: scope.clone(),
        id: id.clone(),
        parent: checkpoint.parent.clone(),
        run: checkpoint.run().map(str::to_owned),
        meta: encode(&place::meta(scope, id, checkpoint.parent.as_deref()), &meta)?,
        body: seal(&place::body(scope, id), checkpoint.body.bytes.clone()),
        versions: new.versions.clone(),
        values,
    })
}

/// `false`: a value continues one that is gone; nothing was written then.
fn insert(sql: &mut Sql<'_>, packed: &Packed) -> rusqlite::Result<bool> {
    for (row, _) in packed.values.values().filter_map(|value| value.base) {
        let held = sql.first("SELECT 1 FROM saved_values WHERE id = ?1", [row], |_| Ok(()))?;
        if held.is_none() {
            return Ok(false);
        }
    }
    let scope = scope_id(sql, &packed.scope)?;
    let id = insert_checkpoint(sql, scope, packed)?;
    for (channel, version) in &packed.versions {
        let value = match packed.values.get(channel) {
            Some(value) => Some(insert_value(sql, scope, (channel, version), value)?),
            None => held_value(sql, scope, packed.parent.as_deref(), (channel, version))?,
        };
        if let Some(value) = value {
            sql.run(
                "INSERT INTO saved_refs (checkpoint, value) VALUES (?1, ?2)",
                params![id, value],
            )?;
        }
    }
    Ok(true)
}

fn insert_checkpoint(sql: &mut Sql<'_>, scope: i64, packed: &Packed) -> rusqlite::Result<i64> {
    sql.run(
        "DELETE FROM saved_refs WHERE checkpoint IN
             (SELECT id FROM saved_checkpoints WHERE scope = ?1 AND checkpoint = ?2)",
        params![scope, packed.id],
    )?;
    sql.run(
        "DELETE FROM saved_checkpoints WHERE scope = ?1 AND checkpoint = ?2",
        params![scope, packed.id],
    )?;
    sql.run(
        "INSERT INTO saved_checkpoints (scope, checkpoint, parent, run, meta, body)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![scope, packed.id, packed.parent, packed.run, packed.meta, packed.body],
    )?;
    Ok(sql.last_id())
}

/// Versions are no key: two branches of a thread may number theirs alike.
fn insert_value(
    sql: &mut Sql<'_>,
    scope: i64,
    (channel, version): (&str, &str),
    value: &PackedValue,
) -> rusqlite::Result<i64> {
    let depth = value.base.map_or(0, |(_, depth)| depth + 1);
    sql.run(
        "INSERT INTO saved_values (scope, channel, version, kind, base, depth, data)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            scope,
            channel,
            version,
            value.kind,
            value.base.map(|(row, _)| row),
            depth,
            value.data
        ],
    )?;
    Ok(sql.last_id())
}

/// The value that a channel has at a version: the parent's, else the newest.
fn held_value(
    sql: &mut Sql<'_>,
    scope: i64,
    parent: Option<&str>,
    (channel, version): (&str, &str),
) -> rusqlite::Result<Option<i64>> {
    let of_parent = sql.first(
        "SELECT v.id FROM saved_checkpoints c
         JOIN saved_refs r ON r.checkpoint = c.id JOIN saved_values v ON v.id = r.value
         WHERE c.scope = ?1 AND c.checkpoint = ?2 AND v.channel = ?3 AND v.version = ?4",
        params![scope, parent, channel, version],
        |row| row.get(0),
    )?;
    if of_parent.is_some() {
        return Ok(of_parent);
    }
    sql.first(
        "SELECT id FROM saved_values WHERE scope = ?1 AND channel = ?2 AND version = ?3
         ORDER BY id DESC LIMIT 1",
        params![scope, channel, version],
        |row| row.get(0),
    )
}
