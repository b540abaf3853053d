//! Checkpoint stores: memory and SQLite. Both keep documents as well, in the same place.

mod error;
mod memory;
mod open;
mod sqlite;

pub use error::Error;
pub use memory::MemoryStore;
pub use open::{Store, open};
pub use sqlite::{Options, SqliteStore};
