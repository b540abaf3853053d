//! The last pages of every backend, bounded.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Page;
use crate::base::Millis;

/// A ring of pages for each backend. Shared by whoever writes pages and whoever reads windows.
#[derive(Debug)]
pub struct PageHistory {
    capacity: usize,
    pages: Mutex<BTreeMap<String, VecDeque<Page>>>,
}

impl PageHistory {
    /// Keeps the newest `capacity` pages of each backend, at least two.
    pub fn new(capacity: usize) -> Self {
        Self { capacity: capacity.max(2), pages: Mutex::default() }
    }

    /// Adds a page. A page that is older than the backend's newest is ignored: scrapes never run backwards.
    pub fn push(&self, page: Page) {
        let mut pages = self.lock();
        let ring = pages.entry(page.backend.clone()).or_default();
        if ring.back().is_some_and(|newest| newest.at >= page.at) {
            return;
        }
        if ring.len() == self.capacity {
            ring.pop_front();
        }
        ring.push_back(page);
    }

    /// The pages of the last `window_s` [s] before `now`, both ends included: backend by backend, oldest first.
    pub fn window(&self, now: Millis, window_s: f64) -> Vec<Page> {
        // A float to integer cast saturates: a negative or absurd window is empty or all there is.
        let from = Millis(now.0.saturating_sub((window_s * 1000.0) as u64));
        let pages = self.lock();
        let inside = |page: &&Page| page.at >= from && page.at <= now;
        pages.values().flat_map(|ring| ring.iter().filter(inside)).cloned().collect()
    }

    /// When the oldest page that is still kept was read, for one backend.
    pub fn oldest(&self, backend: &str) -> Option<Millis> {
        self.lock().get(backend)?.front().map(|page| page.at)
    }

    /// Drops the pages of a backend that is gone.
    pub fn forget(&self, backend: &str) {
        self.lock().remove(backend);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, VecDeque<Page>>> {
        // Every write leaves the map whole, so a panic elsewhere does not make it unusable.
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
