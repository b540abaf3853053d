//! How full a replica was, over time.

use super::ticks::{Ps, seconds};

/// Integrals over busy time; the difference of two of them covers the time between.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Usage {
    blocks: f64,
    /// Time spent in steps [s].
    pub(super) busy_s: f64,
    /// ∫ requests in the batch [requests · s].
    pub(super) running_s: f64,
    /// ∫ requests in the queue [requests · s].
    pub(super) waiting_s: f64,
    /// ∫ share of KV blocks held [s].
    pub(super) kv_s: f64,
    /// Largest share of KV blocks held, 0–1.
    pub(super) kv_max: f64,
}

impl Usage {
    pub(super) fn new(blocks: u64) -> Self {
        Self { blocks: blocks.max(1) as f64, ..Self::default() }
    }

    /// Adds `duration` in which so many ran and waited, and the blocks held went from `before` to `after`.
    pub(super) fn add(&mut self, duration: Ps, running: usize, waiting: usize, held: (u64, u64)) {
        let duration_s = seconds(duration);
        let (before, after) = (held.0 as f64 / self.blocks, held.1 as f64 / self.blocks);
        self.busy_s += duration_s;
        self.running_s += running as f64 * duration_s;
        self.waiting_s += waiting as f64 * duration_s;
        self.kv_s += 0.5 * (before + after) * duration_s;
        self.kv_max = self.kv_max.max(after);
    }
}
