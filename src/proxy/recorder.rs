//! The ring of records that the agent fetches from.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use crate::base::Millis;
use crate::domain::RequestRecord;

/// Numbers that a start of the proxy skips for each millisecond since 1970. A restart so begins above every
/// number given before, unless there were more than this many requests per millisecond of life.
const NUMBERS_PER_MS: u64 = 1_000;

/// The latest records, each with its number.
#[derive(Debug)]
pub struct Recorder {
    kept: usize,
    ring: Mutex<Ring>,
}

#[derive(Debug)]
struct Ring {
    records: VecDeque<RequestRecord>,
    /// Number of the newest record.
    last: u64,
    /// Number before the first record of this life.
    born: u64,
}

/// An answer to "what came after?".
#[derive(Debug, Serialize)]
pub struct Page {
    /// Oldest first.
    pub records: Vec<RequestRecord>,
    /// The number to ask with next.
    pub next: u64,
    /// Records after the number asked with that were overwritten before they were fetched.
    pub lost: u64,
}

impl Recorder {
    /// An empty ring of `kept` records, begun at `now`.
    pub fn new(kept: usize, now: Millis) -> Self {
        let last = now.0.saturating_mul(NUMBERS_PER_MS);
        Self {
            kept: kept.max(1),
            ring: Mutex::new(Ring { records: VecDeque::new(), last, born: last }),
        }
    }

    /// Adds a record; the oldest one goes when the ring is full.
    pub fn push(&self, record: RequestRecord) {
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        if ring.records.len() == self.kept {
            ring.records.pop_front();
        }
        ring.records.push_back(record);
        ring.last += 1;
    }

    /// The first `limit` records after number `after`. A number from before a restart asks for everything.
    pub fn after(&self, after: u64, limit: usize) -> Page {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        if after >= ring.last {
            return Page { records: Vec::new(), next: ring.last, lost: 0 };
        }
        let before_first = ring.last - ring.records.len() as u64;
        let from = after.max(before_first);
        let skip = (from - before_first) as usize;
        let records: Vec<_> = ring.records.iter().skip(skip).take(limit).cloned().collect();
        let next = from + records.len() as u64;
        // Numbers from before this life are no loss: nothing is known of them.
        Page { records, next, lost: from - after.max(ring.born).min(from) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Arm, Finish};

    fn record(tokens: u32) -> RequestRecord {
        RequestRecord {
            arm: Arm::Stable,
            canary_probability: 0.0,
            session: String::new(),
            first_turn: true,
            randomized: true,
            started: Millis(0),
            finished: Millis(1),
            ttft_ms: None,
            tpot_ms: None,
            itl_max_ms: None,
            e2e_ms: None,
            input_tokens: None,
            output_tokens: tokens,
            status: 200,
            finish: Finish::Complete,
        }
    }

    fn tokens(page: &Page) -> Vec<u32> {
        page.records.iter().map(|record| record.output_tokens).collect()
    }

    #[test]
    fn pages_follow_each_other_without_gap_or_repeat() {
        let recorder = Recorder::new(10, Millis(1));
        let start = recorder.after(u64::MAX, 10).next;
        (1..=5).for_each(|i| recorder.push(record(i)));
        let first = recorder.after(start, 2);
        assert_eq!(tokens(&first), [1, 2]);
        let second = recorder.after(first.next, 10);
        assert_eq!((tokens(&second), second.lost), (vec![3, 4, 5], 0));
        assert!(recorder.after(second.next, 10).records.is_empty());
    }

    #[test]
    fn what_was_overwritten_is_counted_as_lost() {
        let recorder = Recorder::new(3, Millis(1));
        let start = recorder.after(u64::MAX, 10).next;
        (1..=5).for_each(|i| recorder.push(record(i)));
        let page = recorder.after(start, 10);
        assert_eq!((tokens(&page), page.lost), (vec![3, 4, 5], 2));
    }

    #[test]
    fn numbers_grow_over_a_restart() {
        let before = Recorder::new(3, Millis(1_000));
        (1..=3).for_each(|i| before.push(record(i)));
        let asked = before.after(0, 10).next;
        let restarted = Recorder::new(3, Millis(1_001));
        restarted.push(record(9));
        assert_eq!(tokens(&restarted.after(asked, 10)), [9]);
    }
}
