//! The past pages of a deployment's servers: bounded, newest last.

use std::collections::{BTreeMap, VecDeque};

use super::Page;
use crate::base::Millis;

/// Pages per backend, not older than `keep_ms`.
#[derive(Debug, Clone)]
pub struct PageHistory {
    keep_ms: u64,
    pages: BTreeMap<String, VecDeque<Page>>,
}

impl PageHistory {
    /// An empty history that keeps pages for `keep_s` [s].
    pub fn new(keep_s: f64) -> Self {
        Self { keep_ms: (keep_s * 1000.0) as u64, pages: BTreeMap::new() }
    }

    /// Adds a page; what is older than the history keeps goes.
    pub fn push(&mut self, page: Page) {
        let oldest = Millis(page.at.0.saturating_sub(self.keep_ms));
        let ring = self.pages.entry(page.backend.clone()).or_default();
        ring.push_back(page);
        while ring.front().is_some_and(|page| page.at < oldest) {
            ring.pop_front();
        }
    }

    /// Pages of `backends` from `from` to `to`, each backend's together, oldest first.
    pub fn window(&self, backends: &[String], from: Millis, to: Millis) -> Vec<Page> {
        let rings = backends.iter().filter_map(|backend| self.pages.get(backend));
        let pages = rings.flat_map(|ring| ring.iter());
        pages.filter(|page| page.at >= from && page.at <= to).cloned().collect()
    }

    /// How much of the past every one of `backends` covers at `now` [s]; 0 when one has no page.
    pub fn covered_s(&self, backends: &[String], now: Millis) -> f64 {
        let oldest = |backend: &String| self.pages.get(backend).and_then(|ring| ring.front());
        let spans = backends.iter().map(|b| oldest(b).map_or(0, |page| now.since(page.at)));
        spans.min().unwrap_or(0) as f64 / 1000.0
    }
}
