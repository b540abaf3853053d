//! Tables, and how a file of an older program becomes one of this.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::Options;
use crate::store::Error;

/// One step per version: the step at index `n` takes a file from `user_version` n to n + 1.
const MIGRATIONS: [&str; 3] =
    [include_str!("schema_v1.sql"), include_str!("schema_v2.sql"), include_str!("schema_v3.sql")];

/// Files up to this size are checked as a whole when opened [bytes], unless told otherwise. Of larger ones those tables are in
/// which a row that is lost would read as one that never was; the others row by row as they are read.
const CHECK_WHOLE_MAX: u64 = 16 << 20;

/// Tables that are checked in a file of any size. They hold what is open and what is known, not what was: they stay small.
const CHECKED_ALWAYS: [&str; 4] = ["threads", "inbox", "task_results", "documents"];

/// Opens the writer's connection and brings the file up to date.
pub(super) fn open_writer(path: &Path, options: Options) -> Result<Connection, Error> {
    let sql = |error: rusqlite::Error| Error::from_sqlite(path, &error);
    let connection = Connection::open(path).map_err(sql)?;
    connection.busy_timeout(Duration::from_secs(5)).map_err(sql)?;
    connection
        .execute_batch(
            "PRAGMA page_size = 4096;
             PRAGMA journal_mode = WAL;
             PRAGMA synchronous = FULL;
             PRAGMA wal_autocheckpoint = 2000;
             PRAGMA cache_size = -16384;
             PRAGMA temp_store = MEMORY;",
        )
        .map_err(sql)?;
    check_size(&connection, path, options.check_whole_bytes_max.unwrap_or(CHECK_WHOLE_MAX))?;
    migrate(&connection, path)?;
    if let Some(bytes) = options.bytes_max {
        let page: i64 =
            connection.query_row("PRAGMA page_size", [], |row| row.get(0)).map_err(sql)?;
        let pages = i64::try_from(bytes).unwrap_or(i64::MAX) / page.max(1);
        connection
            .query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))
            .map_err(sql)?;
    }
    Ok(connection)
}

/// Opens a reader's connection.
pub(super) fn open_reader(path: &Path) -> Result<Connection, Error> {
    let sql = |error: rusqlite::Error| Error::from_sqlite(path, &error);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(sql)?;
    connection.busy_timeout(Duration::from_secs(5)).map_err(sql)?;
    Ok(connection)
}

fn check_size(connection: &Connection, path: &Path, whole_max: u64) -> Result<(), Error> {
    let size = std::fs::metadata(path).map_or(0, |file| file.len());
    if size == 0 {
        return Ok(());
    }
    if size <= whole_max {
        return check_by(connection, path, "PRAGMA quick_check(1)");
    }
    if version(connection, path)? == 0 {
        // None of ours yet: it has no tables.
        return Ok(());
    }
    let table = |table| check_by(connection, path, &format!("PRAGMA integrity_check({table})"));
    CHECKED_ALWAYS.into_iter().try_for_each(table)
}

fn check_by(connection: &Connection, path: &Path, pragma: &str) -> Result<(), Error> {
    let found: String = connection
        .query_row(pragma, [], |row| row.get(0))
        .map_err(|error| Error::from_sqlite(path, &error))?;
    if found == "ok" {
        Ok(())
    } else {
        Err(Error::Corrupt { what: path.display().to_string(), reason: found })
    }
}

/// The schema of a file; 0: it is none of ours. Errors: [`Error::NewerSchema`].
pub(super) fn version(connection: &Connection, path: &Path) -> Result<i64, Error> {
    let found: i64 = connection
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .map_err(|error| Error::from_sqlite(path, &error))?;
    let known = MIGRATIONS.len() as i64;
    if found > known {
        return Err(Error::NewerSchema { path: path.to_owned(), found, known });
    }
    Ok(found)
}

fn migrate(connection: &Connection, path: &Path) -> Result<(), Error> {
    let sql = |error: rusqlite::Error| Error::from_sqlite(path, &error);
    let found = version(connection, path)?;
    for (version, step) in MIGRATIONS.iter().enumerate().skip(usize::try_from(found).unwrap_or(0)) {
        let next = version + 1;
        connection
            .execute_batch(&format!(
                "BEGIN IMMEDIATE; {step} PRAGMA user_version = {next}; COMMIT;"
            ))
            .map_err(sql)?;
    }
    Ok(())
}
