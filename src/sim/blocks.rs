//! Paged KV memory with a prefix cache: blocks that are owned, shared, or cached and free to be taken.

use std::collections::{BTreeMap, HashMap};

/// Prefix hashes name blocks of this many tokens.
pub(super) const HASH_TOKENS: u32 = 16;

/// The KV blocks of one replica.
#[derive(Debug, Clone)]
pub(super) struct Blocks {
    total: u64,
    /// Owned by one request each.
    private: u64,
    /// Blocks by prefix hash: how many requests hold it, and when it was last let go.
    shared: HashMap<u64, Shared>,
    /// Held by nobody, oldest first.
    idle: BTreeMap<u64, u64>,
    stamp: u64,
    /// KV blocks per hashed piece: pieces are 16 tokens, blocks may be larger.
    blocks_per_piece: f64,
}

#[derive(Debug, Clone, Copy)]
struct Shared {
    holders: u32,
    idle_since: u64,
}

impl Blocks {
    pub(super) fn new(total: u64, block_size: u32) -> Self {
        Self {
            total,
            private: 0,
            shared: HashMap::new(),
            idle: BTreeMap::new(),
            stamp: 0,
            blocks_per_piece: f64::from(HASH_TOKENS) / f64::from(block_size),
        }
    }

    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// Blocks that some request needs right now; vLLM's usage gauge counts these.
    pub(super) fn used(&self) -> u64 {
        let held = self.shared.len() - self.idle.len();
        self.private + (held as f64 * self.blocks_per_piece).ceil() as u64
    }

    pub(super) fn free(&self) -> u64 {
        self.total.saturating_sub(self.used())
    }

    /// Takes `count` blocks for one request. False, and nothing taken, when there are not enough.
    pub(super) fn take(&mut self, count: u64) -> bool {
        if count > self.free() {
            return false;
        }
        self.private += count;
        self.evict_over_capacity();
        true
    }

    pub(super) fn give_back(&mut self, count: u64) {
        self.private = self.private.saturating_sub(count);
    }

    /// How many leading pieces are cached.
    pub(super) fn cached_pieces(&self, hashes: &[u64]) -> usize {
        hashes.iter().take_while(|hash| self.shared.contains_key(hash)).count()
    }

    /// Holds pieces that are cached.
    pub(super) fn hold(&mut self, hashes: &[u64]) {
        for hash in hashes {
            if let Some(piece) = self.shared.get_mut(hash) {
                if piece.holders == 0 {
                    self.idle.remove(&piece.idle_since);
                }
                piece.holders += 1;
            }
        }
    }

    /// Lets go of held pieces; they stay cached until the room is needed. The tail goes first, as in vLLM.
    pub(super) fn release(&mut self, hashes: &[u64]) {
        for hash in hashes.iter().rev() {
            let Some(piece) = self.shared.get_mut(hash) else { continue };
            piece.holders = piece.holders.saturating_sub(1);
            if piece.holders == 0 {
                self.stamp += 1;
                piece.idle_since = self.stamp;
                self.idle.insert(self.stamp, *hash);
            }
        }
    }

    /// Keeps the pieces a finished prefill computed: they pass from the request's own blocks to the cache, held by it.
    /// Returns how many of its own blocks became shared.
    pub(super) fn publish(&mut self, hashes: &[u64]) -> u64 {
        let mut fresh = 0_u64;
        for hash in hashes {
            match self.shared.get_mut(hash) {
                Some(piece) => {
                    if piece.holders == 0 {
                        self.idle.remove(&piece.idle_since);
                    }
                    piece.holders += 1;
                }
                None => {
                    self.shared.insert(*hash, Shared { holders: 1, idle_since: 0 });
                    fresh += 1;
                }
            }
        }
        let moved = ((fresh as f64) * self.blocks_per_piece).floor() as u64;
        self.private = self.private.saturating_sub(moved);
        moved
    }

    fn evict_over_capacity(&mut self) {
        loop {
            let cached = (self.shared.len() as f64 * self.blocks_per_piece).ceil() as u64;
            if self.private + cached <= self.total {
                return;
            }
            let Some((_, hash)) = self.idle.pop_first() else { return };
            self.shared.remove(&hash);
        }
    }
}
