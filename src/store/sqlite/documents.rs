//! Documents beside the checkpoints: same file, same writer.

use async_trait::async_trait;
use rusqlite::params;
use serde_json::Value;

use super::codec::{decode, encode};
use super::{SqliteStore, signed, unsigned};
use crate::base::{Document, Documents, Problem};

/// Key, version, data.
type Row = (String, i64, Vec<u8>);

#[async_trait]
impl Documents for SqliteStore {
    async fn put(
        &self,
        collection: &str,
        key: &str,
        expected: Option<u64>,
        value: Value,
    ) -> Result<Option<u64>, Problem> {
        let data = encode(&place(collection, key), &value)?;
        let (collection, key) = (collection.to_owned(), key.to_owned());
        let version = self
            .writer
            .call(data.len(), move |sql| {
                let held = sql
                    .first(
                        "SELECT version FROM documents WHERE collection = ?1 AND key = ?2",
                        [&collection, &key],
                        |row| row.get::<_, i64>(0),
                    )?
                    .unwrap_or(0);
                if expected.is_some_and(|expected| signed(expected) != held) {
                    return Ok(None);
                }
                sql.run(
                    "INSERT INTO documents (collection, key, version, written, data)
                     VALUES (?1, ?2, ?3, (SELECT coalesce(max(written), 0) + 1 FROM documents
                                          WHERE collection = ?1), ?4)
                     ON CONFLICT (collection, key) DO UPDATE SET
                       version = excluded.version, written = excluded.written, data = excluded.data",
                    params![collection, key, held + 1, data],
                )?;
                Ok(Some(unsigned(held + 1)))
            })
            .await?;
        Ok(version)
    }

    async fn get(&self, collection: &str, key: &str) -> Result<Option<Document>, Problem> {
        let (of, wanted) = (collection.to_owned(), key.to_owned());
        let row = self
            .readers
            .call(move |sql| {
                sql.first(
                    "SELECT key, version, data FROM documents WHERE collection = ?1 AND key = ?2",
                    [of, wanted],
                    |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
                )
            })
            .await?;
        row.map(|row| document(collection, row)).transpose()
    }

    async fn remove(&self, collection: &str, key: &str) -> Result<bool, Problem> {
        let (collection, key) = (collection.to_owned(), key.to_owned());
        let gone = self
            .writer
            .call(0, move |sql| {
                let place = params![collection, key];
                sql.run("DELETE FROM documents WHERE collection = ?1 AND key = ?2", place)
            })
            .await?;
        Ok(gone > 0)
    }

    async fn list(&self, collection: &str, limit: usize) -> Result<Vec<Document>, Problem> {
        let of = collection.to_owned();
        let rows = self
            .readers
            .call(move |sql| {
                sql.all(
                    "SELECT key, version, data FROM documents WHERE collection = ?1
                     ORDER BY written DESC LIMIT ?2",
                    params![of, signed(limit as u64)],
                    |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
                )
            })
            .await?;
        rows.into_iter().map(|row| document(collection, row)).collect()
    }
}

fn document(collection: &str, (key, version, data): Row) -> Result<Document, Problem> {
    let value = decode(&place(collection, &key), &data)?;
    Ok(Document { collection: collection.to_owned(), key, version: unsigned(version), value })
}

pub(super) fn place(collection: &str, key: &str) -> String {
    format!("document {key} of {collection}")
}
