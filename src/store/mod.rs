//! Checkpoint stores: memory and SQLite.
