//! Counting.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::Connection;
use serde::Serialize;

use crate::store::Error;
use crate::store::sqlite::unsigned;

/// What is in a store's file.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StoreStats {
    /// Schema of the file.
    pub schema: i64,
    /// Size of the file [bytes].
    pub file_bytes: u64,
    /// Size of the log that is not merged into it yet [bytes].
    pub log_bytes: u64,
    /// Room in the file that `vacuum` would give back [bytes].
    pub free_bytes: u64,
    /// Threads by status; those that were deleted or never ran are `idle`.
    pub threads: BTreeMap<String, u64>,
    /// Checkpoints of all threads.
    pub checkpoints: u64,
    /// Journal entries of all threads.
    pub events: u64,
    /// Letters that wait.
    pub letters: u64,
    /// Side effects that were begun.
    pub effects: u64,
    /// Of these, the ones nobody knows the end of.
    pub effects_in_doubt: u64,
    /// Documents by collection.
    pub documents: BTreeMap<String, u64>,
    /// Checkpoints of other frameworks.
    pub saved_checkpoints: u64,
    /// Tables with their indexes, the largest first.
    pub tables: Vec<TableSize>,
}

/// Room of a table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TableSize {
    /// Table.
    pub table: String,
    /// Pages of it and its indexes [bytes].
    pub bytes: u64,
}

pub(super) fn stats(
    connection: &Connection,
    path: &Path,
    schema: i64,
) -> Result<StoreStats, Error> {
    let mut wal = path.as_os_str().to_owned();
    wal.push("-wal");
    let size = |path: &Path| std::fs::metadata(path).map_or(0, |file| file.len());
    let count = |text: &str| -> Result<u64, Error> {
        let read = |row: &rusqlite::Row<'_>| row.get(0).map(unsigned);
        connection.query_row(text, [], read).map_err(|error| Error::from_sqlite(path, &error))
    };
    let groups = |text: &str| -> Result<Vec<(String, u64)>, Error> {
        let rows = || {
            let mut statement = connection.prepare(text)?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, unsigned(row.get(1)?))))?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        rows().map_err(|error| Error::from_sqlite(path, &error))
    };
    let tables = groups(
        "SELECT m.tbl_name, sum(s.pgsize) FROM dbstat s JOIN sqlite_schema m ON m.name = s.name
         WHERE s.aggregate = TRUE GROUP BY m.tbl_name ORDER BY 2 DESC, 1",
    )?;
    let saved = if schema < 2 { 0 } else { count("SELECT count(*) FROM saved_checkpoints")? };
    Ok(StoreStats {
        schema,
        file_bytes: size(path),
        log_bytes: size(Path::new(&wal)),
        free_bytes: count(
            "SELECT freelist_count * page_size FROM pragma_freelist_count, pragma_page_size",
        )?,
        threads: groups("SELECT status, count(*) FROM threads GROUP BY status")?
            .into_iter()
            .collect(),
        checkpoints: count("SELECT count(*) FROM checkpoints")?,
        events: count("SELECT coalesce(sum(last - first + 1), 0) FROM events")?,
        letters: count("SELECT count(*) FROM inbox WHERE applied = 0")?,
        effects: count("SELECT count(*) FROM effects")?,
        effects_in_doubt: count("SELECT count(*) FROM effects WHERE data IS NULL")?,
        documents: groups("SELECT collection, count(*) FROM documents GROUP BY collection")?
            .into_iter()
            .collect(),
        saved_checkpoints: saved,
        tables: tables.into_iter().map(|(table, bytes)| TableSize { table, bytes }).collect(),
    })
}
