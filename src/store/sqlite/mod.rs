//! One file, one writer that group-commits, deltas per channel version.

mod checkpoints;
mod codec;
mod collect;
mod documents;
mod effects;
mod file;
mod inbox;
mod lock;
mod read;
mod retain;
mod saver;
mod schema;
mod statements;
mod surgery;
mod threads;
mod write;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Error;
pub use file::{CheckReport, Compacted, Damage, StoreFile, StoreStats, TableSize};
use lock::Lock;
use threads::{Readers, Worker};

/// Readers beside the writer: reading is short, and mostly from the cache.
const READERS: usize = 2;

/// How a file is opened.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// The database may grow to so many bytes; `None`: as the disk allows.
    pub bytes_max: Option<u64>,
    /// A file up to so many bytes is checked as a whole when it is opened; `None`: up to 16 MiB.
    pub check_whole_bytes_max: Option<u64>,
}

/// Threads and documents in one SQLite file, for one process at a time.
pub struct SqliteStore {
    // In the order of dropping: readers, writer, and only then the lock.
    readers: Readers,
    writer: Worker,
    _lock: Lock,
}

impl SqliteStore {
    /// Opens or makes the file at `path`.
    ///
    /// Errors: another process has it, it is damaged, a newer program wrote it, the system refuses.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::open_with(path, Options::default())
    }

    /// Like [`SqliteStore::open`], with options.
    pub fn open_with(path: impl AsRef<Path>, options: Options) -> Result<Self, Error> {
        let path: Arc<PathBuf> = Arc::new(path.as_ref().to_owned());
        let lock = Lock::take(&path)?;
        let connection = schema::open_writer(&path, options)?;
        let readers =
            (0..READERS).map(|_| schema::open_reader(&path)).collect::<Result<Vec<_>, _>>()?;
        let writer = Worker::writer(connection, path.clone())?;
        let readers = Readers::new(readers, &path)?;
        Ok(Self { readers, writer, _lock: lock })
    }
}

/// A number as SQLite keeps it.
fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// A number as SQLite kept it.
fn unsigned(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}
