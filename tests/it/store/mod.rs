//! Stores: one conformance suite for all of them, and what SQLite alone must do.

mod conformance;
mod damage;
mod file;
mod forgetting;
mod pen;
mod saver;
mod sqlite;
