//! Reading: pages of checkpoints, values put together from their chains.

use std::collections::{BTreeMap, HashMap};

use rusqlite::params;

use super::place;
use super::save::{Meta, write_place};
use crate::store::saver::{
    Blob, FoundCheckpoint, SavedCheckpoint, SavedCursor, SavedPage, SavedQuery, SavedWrite, Scope,
};
use crate::store::sqlite::codec::{corrupt, decode, unseal, unseal_delta};
use crate::store::sqlite::statements::Sql;
use crate::store::sqlite::{Error, SqliteStore, signed};

/// Checkpoints looked at in one go.
const BATCH: usize = 100;

/// A checkpoint's row.
pub(super) struct Row {
    pub(super) id: i64,
    pub(super) scope: Scope,
    pub(super) checkpoint: String,
    pub(super) parent: Option<String>,
    pub(super) meta: Vec<u8>,
    pub(super) body: Vec<u8>,
}

/// What belongs to a checkpoint, as it lies in the file.
pub(super) struct Belongings {
    /// Channel, row of its value, kind.
    pub(super) values: Vec<(String, i64, String)>,
    /// Writes without their values, and these.
    pub(super) writes: Vec<(SavedWrite, Vec<u8>)>,
}

impl SqliteStore {
    pub(super) async fn find_saved(&self, query: &SavedQuery) -> Result<SavedPage, Error> {
        let mut found: Vec<FoundCheckpoint> = Vec::new();
        let mut chains: HashMap<Scope, Values> = HashMap::new();
        let mut after = query.after.clone();
        loop {
            let batch = self.rows(query, after.clone()).await?;
            let last = batch.len() < BATCH;
            for row in batch {
                after = Some(cursor(&row));
                let checkpoint = unpack(&row)?;
                if !checkpoint.matches(&query.filter) {
                    continue;
                }
                if found.len() == query.limit {
                    let next = found.last().map(|found| found.checkpoint.cursor());
                    return Ok(SavedPage { found, next });
                }
                let scope = checkpoint.scope.clone();
                let values = chains.remove(&scope).unwrap_or_else(|| Values::new(scope.clone()));
                let (whole, values) = self.complete(checkpoint, row.id, values).await?;
                found.extend(whole);
                chains.insert(scope, values);
            }
            if last {
                return Ok(SavedPage { found, next: None });
            }
        }
    }

    async fn rows(
        &self,
        query: &SavedQuery,
        after: Option<SavedCursor>,
    ) -> Result<Vec<Row>, Error> {
        let query = query.clone();
        self.readers
            .call(move |sql| {
                let (id, thread, namespace) = match after {
                    Some((id, thread, namespace)) => (Some(id), Some(thread), Some(namespace)),
                    None => (None, None, None),
                };
                sql.all(
                    "SELECT c.id, s.thread, s.namespace, c.checkpoint, c.parent, c.meta, c.body
                     FROM saved_checkpoints c JOIN saved_scopes s ON s.id = c.scope
                     WHERE (?1 IS NULL OR s.thread = ?1) AND (?2 IS NULL OR s.namespace = ?2)
                       AND (?3 IS NULL OR c.checkpoint = ?3) AND (?4 IS NULL OR c.checkpoint < ?4)
                       AND (?5 IS NULL OR (c.checkpoint, s.thread, s.namespace) < (?5, ?6, ?7))
                     ORDER BY c.checkpoint DESC, s.thread DESC, s.namespace DESC LIMIT ?8",
                    params![
                        query.thread,
                        query.namespace,
                        query.id,
                        query.before,
                        id,
                        thread,
                        namespace,
                        signed(BATCH.min(query.limit.saturating_add(1)) as u64)
                    ],
                    |row| {
                        Ok(Row {
                            id: row.get(0)?,
                            scope: Scope { thread: row.get(1)?, namespace: row.get(2)? },
                            checkpoint: row.get(3)?,
                            parent: row.get(4)?,
                            meta: row.get(5)?,
                            body: row.get(6)?,
                        })
                    },
                )
            })
            .await
    }

    /// A checkpoint with its values and writes; `None`: it was forgotten meanwhile.
    async fn complete(
        &self,
        checkpoint: SavedCheckpoint,
        row: i64,
        mut values: Values,
    ) -> Result<(Option<FoundCheckpoint>, Values), Error> {
        let (scope, id) = (checkpoint.scope.clone(), checkpoint.id.clone());
        let (belongings, mut values) = self
            .readers
            .call(move |sql| Ok((belongings(sql, row, &scope, &id, &mut values)?, values)))
            .await?;
        let Some(belongings) = belongings else { return Ok((None, values)) };
        let mut filled = BTreeMap::new();
        for (channel, row, kind) in belongings.values {
            filled.insert(channel, Blob { kind, bytes: values.content(row)?.to_vec() });
        }
        let mut writes = Vec::with_capacity(belongings.writes.len());
        for (mut write, data) in belongings.writes {
            let place = write_place(&checkpoint.scope, &checkpoint.id, &write);
            write.value.bytes = unseal(&place, &data)?.into_owned();
            writes.push(write);
        }
        Ok((Some(FoundCheckpoint { checkpoint, values: filled, writes }), values))
    }
}

fn cursor(row: &Row) -> SavedCursor {
    (row.checkpoint.clone(), row.scope.thread.clone(), row.scope.namespace.clone())
}

pub(super) fn unpack(row: &Row) -> Result<SavedCheckpoint, Error> {
    let (scope, id) = (&row.scope, &row.checkpoint);
    let meta: Meta = decode(&place::meta(scope, id, row.parent.as_deref()), &row.meta)?;
    let bytes = unseal(&place::body(scope, id), &row.body)?.into_owned();
    Ok(SavedCheckpoint {
        scope: scope.clone(),
        id: id.clone(),
        parent: row.parent.clone(),
        body: Blob { kind: meta.kind, bytes },
        metadata: meta.metadata,
    })
}

pub(super) fn belongings(
    sql: &mut Sql<'_>,
    row: i64,
    scope: &Scope,
    id: &str,
    values: &mut Values,
) -> rusqlite::Result<Option<Belongings>> {
    let held = "SELECT scope FROM saved_checkpoints WHERE id = ?1";
    let Some(scope_row) = sql.first(held, [row], |row| row.get::<_, i64>(0))? else {
        return Ok(None);
    };
    debug_assert_eq!(&values.scope, scope);
    let found = sql.all(
        "SELECT v.channel, v.id, v.kind FROM saved_refs r JOIN saved_values v ON v.id = r.value
         WHERE r.checkpoint = ?1 AND v.data IS NOT NULL",
        [row],
        |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
    )?;
    for (_, value, _) in &found {
        values.fetch(sql, *value)?;
    }
    let writes = sql.all(
        "SELECT task, path, idx, channel, kind, data FROM saved_writes
         WHERE scope = ?1 AND checkpoint = ?2 ORDER BY path, task, idx",
        params![scope_row, id],
        |row| {
            let value = Blob { kind: row.get(4)?, bytes: Vec::new() };
            let write = SavedWrite {
                task: row.get(0)?,
                path: row.get(1)?,
                index: row.get(2)?,
                channel: row.get(3)?,
                value,
            };
            Ok((write, row.get(5)?))
        },
    )?;
    Ok(Some(Belongings { values: found, writes }))
}

/// Values of one scope by their rows: fetched on the reader, put together by the caller, each once.
pub(super) struct Values {
    scope: Scope,
    rows: HashMap<i64, ValueRow>,
    contents: HashMap<i64, Vec<u8>>,
}

struct ValueRow {
    base: Option<i64>,
    channel: String,
    version: String,
    kind: String,
    data: Vec<u8>,
}

impl Values {
    pub(super) fn new(scope: Scope) -> Self {
        Self { scope, rows: HashMap::new(), contents: HashMap::new() }
    }

    /// Fetches a value's row and all that it continues.
    pub(super) fn fetch(&mut self, sql: &mut Sql<'_>, row: i64) -> rusqlite::Result<()> {
        let mut next = Some(row);
        while let Some(id) = next.filter(|id| !self.rows.contains_key(id)) {
            let found = sql.first(
                "SELECT base, channel, version, kind, data FROM saved_values
                 WHERE id = ?1 AND data IS NOT NULL",
                [id],
                |row| {
                    Ok(ValueRow {
                        base: row.get(0)?,
                        channel: row.get(1)?,
                        version: row.get(2)?,
                        kind: row.get(3)?,
                        data: row.get(4)?,
                    })
                },
            )?;
            next = found.as_ref().and_then(|found| found.base);
            if let Some(found) = found {
                self.rows.insert(id, found);
            }
        }
        Ok(())
    }

    /// The content of a fetched row. Errors: [`Error::Corrupt`].
    pub(super) fn content(&mut self, row: i64) -> Result<&[u8], Error> {
        let mut chain = vec![row];
        while let Some(base) = self.base_to_build(chain.last().copied().unwrap_or(row)) {
            if chain.contains(&base) {
                return Err(corrupt(&format!("saved value {row}"), "it continues itself"));
            }
            chain.push(base);
        }
        for id in chain.into_iter().rev() {
            if !self.contents.contains_key(&id) {
                let content = self.build(id)?;
                self.contents.insert(id, content);
            }
        }
        self.contents.get(&row).map(Vec::as_slice).ok_or_else(|| missing(row))
    }

    fn base_to_build(&self, row: i64) -> Option<i64> {
        if self.contents.contains_key(&row) {
            return None;
        }
        self.rows.get(&row).and_then(|row| row.base)
    }

    fn build(&self, id: i64) -> Result<Vec<u8>, Error> {
        let row = self.rows.get(&id).ok_or_else(|| missing(id))?;
        let place = place::value(&self.scope, &row.channel, &row.version, &row.kind);
        match row.base {
            None => Ok(unseal(&place, &row.data)?.into_owned()),
            Some(base) => {
                let content = self.contents.get(&base).ok_or_else(|| missing(base))?;
                unseal_delta(&place, &row.data, content)
            }
        }
    }
}

fn missing(row: i64) -> Error {
    corrupt(&format!("saved value {row}"), "its row is missing")
}
