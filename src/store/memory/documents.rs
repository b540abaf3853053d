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
        let kept = inner.documents.get(collection).and_then(|kept| kept.get(key));
        let held = kept.map_or(0, |(_, held)| held.version);
        if expected.is_some_and(|expected| expected != held) {
            return Ok(None);
        }
        inner.counter += 1;
        let written = inner.counter;
        let (collection, key) = (collection.to_owned(), key.to_owned());
        let place = (collection.clone(), key.clone());
        let document = Document { collection, key, version: held + 1, value };
        inner.documents.entry(place.0).or_default().insert(place.1, (written, document));
        Ok(Some(held + 1))
    }

    async fn remove(&self, collection: &str, key: &str) -> Result<bool, Problem> {
        let mut inner = self.lock();
        let Some(kept) = inner.documents.get_mut(collection) else { return Ok(false) };
        let was_there = kept.remove(key).is_some();
        if kept.is_empty() {
            inner.documents.remove(collection);
        }
        Ok(was_there)
    }

    async fn get(&self, collection: &str, key: &str) -> Result<Option<Document>, Problem> {
        let inner = self.lock();
        let kept = inner.documents.get(collection).and_then(|kept| kept.get(key));
        Ok(kept.map(|(_, document)| document.clone()))
    }

    async fn list(&self, collection: &str, limit: usize) -> Result<Vec<Document>, Problem> {
        let inner = self.lock();
        let Some(kept) = inner.documents.get(collection) else { return Ok(Vec::new()) };
        let mut found: Vec<&(u64, Document)> = kept.values().collect();
        found.sort_by_key(|(written, _)| std::cmp::Reverse(*written));
        Ok(found.into_iter().take(limit).map(|(_, document)| document.clone()).collect())
    }
}
