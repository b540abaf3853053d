//! The store's file from outside: no agent is assembled, no deployment touched.

use std::path::PathBuf;
use std::sync::Arc;

use super::Error;
use crate::base::Documents;
use crate::store::{self, StoreFile};

/// What a check of the store found.
pub type CheckReport = store::CheckReport;
/// What compacting the store came to.
pub type Compacted = store::Compacted;
/// What is in a store's file.
pub type StoreStats = store::StoreStats;

/// The documents of the store at `url`, for commands that need nothing else of it.
///
/// Errors: it cannot be opened, or another process has it.
pub fn store_documents(url: &str) -> Result<Arc<dyn Documents>, Error> {
    Ok(store::open(url)?.documents)
}

/// Reads every page and row of the store at `url`, also while a server uses it.
///
/// Errors: it cannot be opened, or has no file.
pub async fn check_store(url: &str) -> Result<CheckReport, Error> {
    aside(url, |file| file.check()).await
}

/// What is in the store at `url`.
///
/// Errors: it cannot be opened or read, or has no file.
pub async fn store_stats(url: &str) -> Result<StoreStats, Error> {
    aside(url, |file| file.stats()).await
}

/// Gives the room of what was forgotten back to the disk.
///
/// Errors: a process uses the store; it has no file.
pub async fn vacuum_store(url: &str) -> Result<Compacted, Error> {
    aside(url, |file| file.vacuum()).await
}

/// Copies the store at `url` to a file that must not exist, also while a server uses it. Its size [bytes].
///
/// Errors: the file exists; damage: it is not copied.
pub async fn back_store_up(url: &str, to: PathBuf) -> Result<u64, Error> {
    aside(url, move |file| file.backup(&to)).await
}

/// Runs `op` where waiting for a disk keeps nobody else waiting.
async fn aside<T: Send + 'static>(
    url: &str,
    op: impl FnOnce(&StoreFile) -> Result<T, store::Error> + Send + 'static,
) -> Result<T, Error> {
    let file = StoreFile::at(url)?;
    let done = tokio::task::spawn_blocking(move || op(&file)).await;
    let cut_off = |error: tokio::task::JoinError| Error::Io {
        what: "working on the store's file".to_owned(),
        source: std::io::Error::other(error),
    };
    Ok(done.map_err(cut_off)??)
}
