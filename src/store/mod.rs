//! Checkpoint stores: memory and SQLite. Both keep documents as well, in the same place.

mod error;
mod memory;
mod open;
mod saver;
mod sqlite;

pub use error::Error;
pub use memory::MemoryStore;
pub use open::{Store, open};
pub use saver::{
    Blob, CheckpointSaver, FoundCheckpoint, NewCheckpoint, PruneStrategy, SavedCheckpoint,
    SavedCursor, SavedPage, SavedQuery, SavedWrite, Scope,
};
pub use sqlite::{
    CheckReport, Compacted, Damage, Options, SqliteStore, StoreFile, StoreStats, TableSize,
};
