//! What clients saw: the data plane's request records, kept for as long as the pages are.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use super::TrafficPlane;
use crate::base::Millis;
use crate::domain::{Arm, Objective, RequestRecord, RequestStats};

/// Most records kept: at 1000 requests per second three minutes, some 50 MB.
const RECORDS_MAX: usize = 200_000;

/// Follows a data plane's records.
pub(super) struct ClientTap {
    plane: Arc<dyn TrafficPlane>,
    keep_ms: u64,
    objective: Option<Objective>,
    kept: Mutex<Kept>,
    /// One reader at a time, so that no record is taken twice.
    cursor: tokio::sync::Mutex<Option<u64>>,
}

#[derive(Default)]
struct Kept {
    records: VecDeque<RequestRecord>,
    /// Records that ended before this moment may be missing.
    complete_from: Option<Millis>,
}

impl ClientTap {
    /// Keeps records of the last `keep_ms`; goodput counts by `objective`.
    pub(super) fn new(
        plane: Arc<dyn TrafficPlane>,
        keep_ms: u64,
        objective: Option<Objective>,
    ) -> Self {
        Self { plane, keep_ms, objective, kept: Mutex::default(), cursor: Default::default() }
    }

    /// Takes over what is new. A plane that does not answer leaves a gap: the statistics start after it.
    pub(super) async fn collect(&self, now: Millis) {
        let mut cursor = self.cursor.lock().await;
        let known = *cursor;
        match self.plane.records(known.unwrap_or(u64::MAX)).await {
            Ok((records, next)) => {
                *cursor = Some(next);
                self.keep(records, now, known.is_none());
            }
            Err(error) => {
                tracing::warn!(%error, "no client records");
            }
        }
    }

    fn keep(&self, records: Vec<RequestRecord>, now: Millis, first: bool) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if first {
            kept.complete_from = Some(now);
        }
        kept.records.extend(records.into_iter().filter(|record| record.arm == Arm::Stable));
        let oldest = Millis(now.0.saturating_sub(self.keep_ms));
        while kept.records.len() > RECORDS_MAX
            || kept.records.front().is_some_and(|record| record.finished < oldest)
        {
            let dropped = kept.records.pop_front().map(|record| record.finished.plus(1));
            kept.complete_from = kept.complete_from.max(dropped);
        }
    }

    /// The stable arm's requests of the last `window_s` [s], or of the part of it that was followed; `None` before that.
    pub(super) fn stats(&self, now: Millis, window_s: f64) -> Option<RequestStats> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let from =
            Millis(now.0.saturating_sub((window_s * 1000.0) as u64)).max(kept.complete_from?);
        let length_s = now.since(from) as f64 / 1000.0;
        let inside: Vec<_> =
            kept.records.iter().filter(|r| r.finished >= from && r.finished <= now).collect();
        (length_s > 0.0).then(|| RequestStats::of(&inside, length_s, self.objective.as_ref()))
    }
}
