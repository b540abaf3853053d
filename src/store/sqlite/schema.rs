//! Tables, and how a file of an older program becomes one of this.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::store::Error;

/// One step per version: the step at index `n` takes a file from `user_version` n to n + 1.
const MIGRATIONS: [&str; 2] = [include_str!("schema_v1.sql"), include_str!("schema_v2.sql")];

/// Files up to this size are checked as a whole when opened [bytes]; larger ones row by row as they are read.
const CHECK_WHOLE_MAX: u64 = 16 << 20;

/// Opens the writer's connection and brings the file up to date.
pub(super) fn open_writer(path: &Path, bytes_max: Option<u64>) -> Result<Connection, Error> {
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
    check_whole(&connection, path)?;
    migrate(&connection, path)?;
    if let Some(bytes) = bytes_max {
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

fn check_whole(connection: &Connection, path: &Path) -> Result<(), Error> {
    let size = std::fs::metadata(path).map_or(0, |file| file.len());
    if size == 0 || size > CHECK_WHOLE_MAX {
        return Ok(());
    }
    let found: String = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
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
