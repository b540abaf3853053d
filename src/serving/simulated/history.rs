//! The past of one server: bounded, a snapshot per scrape.

use std::collections::VecDeque;

use super::page::{Identity, Snapshot};
use crate::base::Millis;
use crate::serving::Page;

/// Seconds between two scrapes.
pub(super) const SCRAPE_EVERY_S: f64 = 5.0;
/// The past is kept this long [s]: an hour, and one scrape before it.
pub(super) const KEPT_S: f64 = 3605.0;

/// A server's scrapes, oldest first. They become pages only when somebody reads them.
#[derive(Debug, Clone, Default)]
pub(super) struct History(VecDeque<Snapshot>);

impl History {
    /// Adds the newest; what is too old goes.
    pub(super) fn push(&mut self, snapshot: Snapshot) {
        let oldest_s = snapshot.at_s - KEPT_S;
        self.0.push_back(snapshot);
        while self.0.front().is_some_and(|first| first.at_s < oldest_s) {
            self.0.pop_front();
        }
    }

    /// Snapshots from `from_s` to `to_s`, both ends included.
    pub(super) fn between(&self, from_s: f64, to_s: f64) -> impl Iterator<Item = &Snapshot> {
        let first = self.0.partition_point(|snapshot| snapshot.at_s < from_s);
        let last = self.0.partition_point(|snapshot| snapshot.at_s <= to_s);
        self.0.range(first..last.max(first))
    }

    /// The pages of that time, as a scraper of `backend` would have read them.
    pub(super) fn pages(
        &self,
        (from_s, to_s): (f64, f64),
        backend: &str,
        identity: &Identity,
        moment: impl Fn(f64) -> Millis,
    ) -> Vec<Page> {
        let page = |snapshot: &Snapshot| Page {
            at: moment(snapshot.at_s),
            backend: backend.to_owned(),
            text: snapshot.render(identity).into(),
        };
        self.between(from_s, to_s).map(page).collect()
    }

    /// When the oldest was made that is still kept [s since the world's start].
    pub(super) fn oldest_s(&self) -> Option<f64> {
        self.0.front().map(|snapshot| snapshot.at_s)
    }

    /// When the newest was made [s since the world's start].
    pub(super) fn newest_s(&self) -> Option<f64> {
        self.0.back().map(|snapshot| snapshot.at_s)
    }

    /// Share of the time between the last two scrapes that the engine spent in steps, 0–1.
    pub(super) fn busy_ratio(&self) -> Option<f64> {
        let mut newest = self.0.iter().rev();
        let (last, before) = (newest.next()?, newest.next()?);
        let busy_s = last.counters.busy_s - before.counters.busy_s;
        Some((busy_s / (last.at_s - before.at_s)).clamp(0.0, 1.0))
    }
}
