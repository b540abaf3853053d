//! What can go wrong in a store, each case with a stable code.

use std::path::{Path, PathBuf};

use crate::base::{Coded, Problem};

/// Why a store could not be opened, read or written.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The URL names no store.
    #[error("`{0}` names no store: expected `memory:` or `sqlite:PATH`")]
    Url(String),
    /// Another process has the file.
    #[error("{} is in use by process {}", path.display(), pid.map_or("(unknown)".to_owned(), |pid| pid.to_string()))]
    Locked {
        /// The database.
        path: PathBuf,
        /// The other process, if it left its name.
        pid: Option<u32>,
    },
    /// The disk, or the space the store may use, is full. Nothing of the write was kept.
    #[error("no space is left for {}", .0.display())]
    Full(PathBuf),
    /// What was read is not what was written.
    #[error("{what} is damaged: {reason}")]
    Corrupt {
        /// What was read.
        what: String,
        /// How it shows.
        reason: String,
    },
    /// A newer program wrote the file.
    #[error("{} has schema {found}, and this program knows {known}", path.display())]
    NewerSchema {
        /// The database.
        path: PathBuf,
        /// Schema of the file.
        found: i64,
        /// Newest schema of this program.
        known: i64,
    },
    /// The file cannot be read or written.
    #[error("{} cannot be used: {reason}", path.display())]
    Io {
        /// The database.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// A store without a file was to be looked at from outside.
    #[error("`{0}` has no file")]
    NoFile(String),
    /// A backup must not overwrite anything.
    #[error("{} is there already", .0.display())]
    Exists(PathBuf),
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
}

impl Error {
    /// The case that an error of SQLite on `path` is.
    pub(super) fn from_sqlite(path: &Path, error: &rusqlite::Error) -> Self {
        use rusqlite::ErrorCode;
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full(path.to_owned()),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::Corrupt { what: path.display().to_string(), reason: error.to_string() }
            }
            _ => Self::Io { path: path.to_owned(), reason: error.to_string() },
        }
    }
}

impl Coded for Error {
    fn code(&self) -> &'static str {
        match self {
            Self::Url(_) => "store.url",
            Self::Locked { .. } => "store.locked",
            Self::Full(_) => "store.full",
            Self::Corrupt { .. } => "store.corrupt",
            Self::NewerSchema { .. } => "store.newer_schema",
            Self::Io { .. } => "store.io",
            Self::NoFile(_) => "store.no_file",
            Self::Exists(_) => "store.exists",
            Self::Closed => "store.closed",
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Url(_) => "for example `sqlite:perf-agent.db`",
            Self::Locked { .. } => "stop that process, or use another file",
            Self::Full(_) => "free some space and try again: no run was harmed",
            Self::Corrupt { .. } => "restore the file from a backup; nothing damaged is served",
            Self::NewerSchema { .. } => "use the newer program, or another file",
            Self::Io { .. } => "check the path, its permissions and the disk",
            Self::NoFile(_) => "name a file: `--store sqlite:PATH`",
            Self::Exists(_) => "name another file, or move that one away",
            Self::Closed => "open the store again",
        }
        .to_owned()
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        error.problem()
    }
}
