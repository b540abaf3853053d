//! Documents in memory.

use async_trait::async_trait;
use serde_json::Value;

use super::MemoryStore;
use crate::base::{Document, Documents, Problem};

#[async_trait]
impl Documents for MemoryStore {
    async fn put(
        &self,
        collection: &str,
        key: &str,
        expected: Option<u64>,
        value: Value,
    ) -> Result<Option<u64>, Problem> {
        let mut inner = self.lock();
        let place = (collection.to_owned(), key.to_owned());
        let held = inner.documents.get(&place).map_or(0, |(_, held)| held.version);
        if expected.is_some_and(|expected| expected != held) {
            return Ok(None);
        }
        inner.counter += 1;
        let written = inner.counter;
        let (collection, key) = place.clone();
        let document = Document { collection, key, version: held + 1, value };
        inner.documents.insert(place, (written, document));
        Ok(Some(held + 1))
    }

    async fn remove(&self, collection: &str, key: &str) -> Result<bool, Problem> {
        let place = (collection.to_owned(), key.to_owned());
        Ok(self.lock().documents.remove(&place).is_some())
    }

    async fn get(&self, collection: &str, key: &str) -> Result<Option<Document>, Problem> {
        let place = (collection.to_owned(), key.to_owned());
        Ok(self.lock().documents.get(&place).map(|(_, document)| document.clone()))
    }

    async fn list(&self, collection: &str, limit: usize) -> Result<Vec<Document>, Problem> {
        let inner = self.lock();
        let mut found: Vec<&(u64, Document)> =
            inner.documents.values().filter(|(_, held)| held.collection == collection).collect();
        found.sort_by_key(|(written, _)| std::cmp::Reverse(*written));
        Ok(found.into_iter().take(limit).map(|(_, document)| document.clone()).collect())
    }
}
