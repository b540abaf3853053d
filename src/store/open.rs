//! Which store a URL names.

use std::sync::Arc;

use super::{CheckpointSaver, Error, MemoryStore, SqliteStore};
use crate::base::Documents;
use crate::runtime::CheckpointStore;

/// An open store, by what it can do.
#[derive(Clone)]
pub struct Store {
    /// Threads.
    pub checkpoints: Arc<dyn CheckpointStore>,
    /// Documents, in the same place.
    pub documents: Arc<dyn Documents>,
    /// Checkpoints of other frameworks, in the same place.
    pub saver: Arc<dyn CheckpointSaver>,
}

/// Opens `memory:` or `sqlite:PATH`.
///
/// Errors: a URL of another kind, and what opening the file gives.
pub fn open(url: &str) -> Result<Store, Error> {
    match url.split_once(':') {
        Some(("memory", "")) => Ok(shared(Arc::new(MemoryStore::new()))),
        Some(("sqlite", path)) if !path.is_empty() => {
            Ok(shared(Arc::new(SqliteStore::open(path)?)))
        }
        _ => Err(Error::Url(url.to_owned())),
    }
}

fn shared<S: CheckpointStore + Documents + CheckpointSaver + 'static>(store: Arc<S>) -> Store {
    Store { checkpoints: store.clone(), documents: store.clone(), saver: store }
}
