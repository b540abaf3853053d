//! A connection with its statements prepared once.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, Params, Row, Statement};

/// Prepared statements of one connection, by their text.
pub(super) struct Sql<'c> {
    connection: &'c Connection,
    /// Keyed by address and length: every text is a constant of the program.
    prepared: HashMap<(usize, usize), Statement<'c>>,
}

impl<'c> Sql<'c> {
    pub(super) fn new(connection: &'c Connection) -> Self {
        Self { connection, prepared: HashMap::new() }
    }

    /// Runs a statement that returns nothing; the number of rows it changed.
    pub(super) fn run(
        &mut self,
        text: &'static str,
        params: impl Params,
    ) -> rusqlite::Result<usize> {
        self.statement(text)?.execute(params)
    }

    /// The first row, if there is one.
    pub(super) fn first<T>(
        &mut self,
        text: &'static str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Option<T>> {
        self.statement(text)?.query_row(params, read).optional()
    }

    /// All rows.
    pub(super) fn all<T>(
        &mut self,
        text: &'static str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Vec<T>> {
        self.statement(text)?.query_map(params, read)?.collect()
    }

    /// Id of the row inserted last.
    pub(super) fn last_id(&self) -> i64 {
        self.connection.last_insert_rowid()
    }

    /// Whether no transaction is open: SQLite ends one by itself when a write fails badly.
    pub(super) fn is_idle(&self) -> bool {
        self.connection.is_autocommit()
    }

    fn statement(&mut self, text: &'static str) -> rusqlite::Result<&mut Statement<'c>> {
        use std::collections::hash_map::Entry;
        match self.prepared.entry((text.as_ptr() as usize, text.len())) {
            Entry::Occupied(held) => Ok(held.into_mut()),
            Entry::Vacant(place) => Ok(place.insert(self.connection.prepare(text)?)),
        }
    }
}
