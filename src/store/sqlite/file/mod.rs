//! A store's file from outside: checked, counted, compacted, copied. Looking at it disturbs no process that has it open.

mod check;
mod stats;

use std::fs::File;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, params};
use serde::Serialize;

use super::Options;
use super::collect;
use super::lock::Lock;
use super::saver;
use super::schema;
use super::statements::Sql;
use crate::store::Error;
pub use check::{CheckReport, Damage};
pub use stats::{StoreStats, TableSize};

/// The file of a store.
#[derive(Debug, Clone)]
pub struct StoreFile {
    path: PathBuf,
}

/// What compacting came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Compacted {
    /// Size before [bytes].
    pub before_bytes: u64,
    /// Size after [bytes].
    pub after_bytes: u64,
}

impl StoreFile {
    /// The file of the store at `url`.
    ///
    /// Errors: [`Error::NoFile`] for a store without one, [`Error::Url`], [`Error::Io`] when it is not there.
    pub fn at(url: &str) -> Result<Self, Error> {
        match url.split_once(':') {
            Some(("memory", "")) => Err(Error::NoFile(url.to_owned())),
            Some(("sqlite", path)) if !path.is_empty() => {
                let path = PathBuf::from(path);
                match std::fs::metadata(&path) {
                    Ok(_) => Ok(Self { path }),
                    Err(error) => Err(Error::Io { path, reason: error.to_string() }),
                }
            }
            _ => Err(Error::Url(url.to_owned())),
        }
    }

    /// Reads every page and every row, and says which are not what was written.
    ///
    /// Errors: the file cannot be opened, or is no store.
    pub fn check(&self) -> Result<CheckReport, Error> {
        let connection = schema::open_reader(&self.path)?;
        self.known_schema(&connection)?;
        check::check(&connection, &self.path)
    }

    /// What is in it, and how much room that takes.
    ///
    /// Errors: the file cannot be opened or read, or is no store.
    pub fn stats(&self) -> Result<StoreStats, Error> {
        let connection = schema::open_reader(&self.path)?;
        let schema = self.known_schema(&connection)?;
        stats::stats(&connection, &self.path, schema)
    }

    /// Forgets what nobody can ask for any more (graphs without a run, answers whose time is over) and gives the room of all that
    /// was forgotten back to the disk. No process may have the store open.
    ///
    /// Errors: [`Error::Locked`]; a file that is damaged or cannot be written; no room for the copy it is made from.
    pub fn vacuum(&self) -> Result<Compacted, Error> {
        let _lock = Lock::take(&self.path)?;
        let connection = schema::open_writer(&self.path, Options::default())?;
        let before_bytes = self.bytes();
        let sql = |error: rusqlite::Error| Error::from_sqlite(&self.path, &error);
        {
            let mut sql_of = Sql::new(&connection);
            saver::collect_all(&mut sql_of).map_err(sql)?;
            collect::collect_all(&mut sql_of).map_err(sql)?;
        }
        connection
            .execute_batch(
                "PRAGMA wal_checkpoint(TRUNCATE); VACUUM; PRAGMA wal_checkpoint(TRUNCATE);",
            )
            .map_err(sql)?;
        drop(connection);
        Ok(Compacted { before_bytes, after_bytes: self.bytes() })
    }

    /// Writes a compact copy to `to`, of one moment, also while another process uses the store; checked and durable when
    /// this returns.
    ///
    /// Errors: [`Error::Exists`]; the first damage that is found: it is not copied; a disk that is full.
    pub fn backup(&self, to: &Path) -> Result<u64, Error> {
        if to.exists() {
            return Err(Error::Exists(to.to_owned()));
        }
        let connection = schema::open_reader(&self.path)?;
        self.known_schema(&connection)?;
        let mut partial = to.as_os_str().to_owned();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        // What an earlier attempt left is of no use to anybody.
        let _ = std::fs::remove_file(&partial);
        let copied = self.copy(&connection, &partial, to);
        if copied.is_err() {
            let _ = std::fs::remove_file(&partial);
        }
        copied
    }

    fn copy(&self, connection: &Connection, partial: &Path, to: &Path) -> Result<u64, Error> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |error: std::io::Error| Error::Io { path, reason: error.to_string() }
        };
        let name = partial.to_string_lossy().into_owned();
        connection
            .execute("VACUUM INTO ?1", params![name])
            .map_err(|error| Error::from_sqlite(&self.path, &error))?;
        let copy = Self { path: partial.to_owned() };
        if let Some(damage) = copy.check()?.damages.into_iter().next() {
            return Err(Error::Corrupt { what: damage.what, reason: damage.reason });
        }
        File::open(partial).and_then(|file| file.sync_all()).map_err(io(partial))?;
        std::fs::rename(partial, to).map_err(io(to))?;
        let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(io(folder))?;
        std::fs::metadata(to).map(|file| file.len()).map_err(io(to))
    }

    fn bytes(&self) -> u64 {
        std::fs::metadata(&self.path).map_or(0, |file| file.len())
    }

    /// The schema of the file, if this program knows it.
    fn known_schema(&self, connection: &Connection) -> Result<i64, Error> {
        let found = schema::version(connection, &self.path)?;
        if found == 0 {
            let what = self.path.display().to_string();
            return Err(Error::Corrupt { what, reason: "it is no store".to_owned() });
        }
        Ok(found)
    }
}
