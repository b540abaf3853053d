//! The durable record of started servers: one JSON file, replaced whole, on disk before anything relies on it.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::procfs;
use crate::base::{EffectKey, Millis};
use crate::serving::{Error, Running};

/// A started server.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Entry {
    /// What everyone may know of it.
    pub(super) running: Running,
    /// Port it was given.
    pub(super) port: u16,
    /// Its process; `None` between the decision to start it and the start.
    pub(super) process: Option<Process>,
    /// Where in its log the present start begins [B].
    pub(super) log_from: u64,
    /// It is being stopped: never restart it.
    pub(super) stopping: bool,
    /// When it was restarted after a crash.
    pub(super) restarts: Vec<Millis>,
}

impl Entry {
    /// An entry whose process is yet to be started.
    pub(super) fn new(running: Running, port: u16) -> Self {
        Self { running, port, process: None, log_from: 0, stopping: false, restarts: Vec::new() }
    }

    /// Whether its process still runs.
    pub(super) fn is_alive(&self) -> bool {
        self.process.as_ref().is_some_and(procfs::is_alive)
    }
}

/// A process that cannot be mistaken for another one of the same number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Process {
    /// Process id, and the id of its process group.
    pub(super) pid: i32,
    /// Boot and start time: a reused pid has another one. Empty when it had ended before it could be looked at.
    pub(super) born: String,
    /// Session it was started in: tells its group from a later one of the same number.
    pub(super) session: i32,
}

/// Every started server by id, and the file that remembers them.
#[derive(Debug)]
pub(super) struct Book {
    file: PathBuf,
    /// Held as long as the book is open: two agents must not run the same servers.
    _lock: File,
    pub(super) entries: BTreeMap<String, Entry>,
}

impl Book {
    /// Opens the book in `dir`, empty when there is none.
    ///
    /// Errors: [`Error::Io`], also when another launcher holds it; [`Error::Corrupt`] when it does not read back.
    pub(super) fn open(dir: &Path) -> Result<Self, Error> {
        fs::create_dir_all(dir).map_err(io("creating the launcher's state directory"))?;
        let lock = File::create(dir.join("backends.lock")).map_err(io("opening the lock"))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => Error::Io {
                what: format!("{} is in use by another agent", dir.display()),
                source: std::io::ErrorKind::WouldBlock.into(),
            },
            TryLockError::Error(error) => io("locking the state directory")(error),
        })?;
        let file = dir.join("backends.json");
        let entries = match fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| Error::Corrupt {
                what: file.display().to_string(),
                detail: error.to_string(),
            })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(io("reading backends.json")(error)),
        };
        Ok(Self { file, _lock: lock, entries })
    }

    /// The server that this effect started or took over.
    pub(super) fn started_by(&self, key: &EffectKey) -> Option<String> {
        let mut entries = self.entries.iter();
        entries.find(|(_, entry)| entry.running.key == *key).map(|(id, _)| id.clone())
    }

    /// Makes the present state durable: after a crash at any moment the file is the old or the new one, whole.
    pub(super) fn save(&self) -> Result<(), Error> {
        let text = serde_json::to_vec_pretty(&self.entries).map_err(|error| Error::Corrupt {
            what: self.file.display().to_string(),
            detail: error.to_string(),
        })?;
        let fresh = self.file.with_extension("json.new");
        let write = || {
            let mut file = File::create(&fresh)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&fresh, &self.file)?;
            // The rename itself is only durable once its directory is.
            self.file.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
        };
        write().map_err(io("writing backends.json"))
    }
}

/// Wraps an IO error with what was being done.
pub(super) fn io(what: &str) -> impl Fn(std::io::Error) -> Error + '_ {
    move |source| Error::Io { what: what.to_owned(), source }
}
