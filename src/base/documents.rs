//! A small durable shelf of JSON documents: records that outlive a run (rollouts, trials, analyses).

use async_trait::async_trait;
use serde_json::Value;

use super::Problem;

/// One document.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// Collection it belongs to: `rollouts`.
    pub collection: String,
    /// Unique in its collection.
    pub key: String,
    /// Grows by one with every write, from 1.
    pub version: u64,
    /// Content.
    pub value: Value,
}

/// Durable documents with compare-and-swap. `store` implements it beside the checkpoints, in the same file.
#[async_trait]
pub trait Documents: Send + Sync {
    /// Writes a document; durable when it returns. `expected` is the version it replaces: 0 creates, `None` does not care.
    ///
    /// Returns the new version, or `Ok(None)` when another version is there: nothing was written then.
    async fn put(
        &self,
        collection: &str,
        key: &str,
        expected: Option<u64>,
        value: Value,
    ) -> Result<Option<u64>, Problem>;

    /// The document, if there.
    async fn get(&self, collection: &str, key: &str) -> Result<Option<Document>, Problem>;

    /// Forgets a document; durable when it returns. `false`: there was none. A later one of that key begins at version 1.
    async fn remove(&self, collection: &str, key: &str) -> Result<bool, Problem>;

    /// The newest `limit` documents of a collection, newest write first.
    async fn list(&self, collection: &str, limit: usize) -> Result<Vec<Document>, Problem>;
}
