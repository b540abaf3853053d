//! Paged KV memory with a prefix cache, as vLLM's `BlockPool`: one queue of free blocks, oldest first, in which cached
//! blocks keep their content until their turn comes.
//!
//! Blocks that nobody can share have no identity here, only a count: a queue entry is a run of them.
//! Source of the rules: vLLM `v1/core/block_pool.py` and `v1/core/kv_cache_manager.py`.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

/// The KV blocks of one replica.
#[derive(Debug, Clone)]
pub(super) struct Pool {
    total: u64,
    free: u64,
    /// Blocks with known content, by prefix hash.
    cached: HashMap<u64, Cached, BuildHasherDefault<MixHasher>>,
    /// Free blocks, oldest first.
    queue: VecDeque<Free>,
    /// Position of the queue's front; positions only grow.
    front: u64,
    /// Runs left behind by evicted requests: request id → position.
    kept: HashMap<u64, u64, BuildHasherDefault<MixHasher>>,
    gone: usize,
    releases: u64,
}

#[derive(Debug, Clone, Copy)]
struct Cached {
    holders: u32,
    /// Where in the queue, while nobody holds it.
    position: u64,
}

#[derive(Debug, Clone, Copy)]
enum Free {
    /// Blocks whose content nobody asks for.
    Plain(u64),
    /// A block that a prefix may still hit.
    Hashed(u64),
    /// Blocks of an evicted request, which may come back for what is left of them.
    Kept { request: u64, count: u64 },
    /// Taken out of the middle.
    Gone,
}

impl Pool {
    /// `total` blocks, all free but the one that vLLM keeps as its null block.
    pub(super) fn new(total: u64) -> Self {
        let free = total.saturating_sub(1);
        Self {
            total,
            free,
            cached: HashMap::default(),
            queue: VecDeque::from([Free::Plain(free)]),
            front: 0,
            kept: HashMap::default(),
            gone: 0,
            releases: 0,
        }
    }

    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// Blocks a request may get, cached ones included.
    pub(super) fn free(&self) -> u64 {
        self.free
    }

    /// Blocks requests hold.
    pub(super) fn used(&self) -> u64 {
        self.total.saturating_sub(1) - self.free
    }

    /// Grows whenever a block becomes free: what did not fit before may fit now.
    pub(super) fn releases(&self) -> u64 {
        self.releases
    }

    /// Takes `count` blocks from the front; the caller has checked [`Self::free`].
    pub(super) fn take(&mut self, mut count: u64) {
        debug_assert!(count <= self.free);
        self.free -= count;
        while count > 0 {
            let Some(entry) = self.queue.front_mut() else { return };
            match entry {
                Free::Plain(run) | Free::Kept { count: run, .. } if *run > count => {
                    *run -= count;
                    return;
                }
                Free::Plain(run) => count -= *run,
                Free::Kept { request, count: run } => {
                    count -= *run;
                    self.kept.remove(request);
                }
                Free::Hashed(hash) => {
                    count -= 1;
                    self.cached.remove(hash);
                }
                Free::Gone => self.gone -= 1,
            }
            self.queue.pop_front();
            self.front += 1;
        }
    }

    /// Gives back `count` blocks that nobody will ask for.
    pub(super) fn release_plain(&mut self, count: u64) {
        if count == 0 {
            return;
        }
        self.free += count;
        self.releases += 1;
        match self.queue.back_mut() {
            Some(Free::Plain(run)) => *run += count,
            _ => self.queue.push_back(Free::Plain(count)),
        }
    }

    /// Gives back `count` blocks that `request` may come back for.
    pub(super) fn release_kept(&mut self, request: u64, count: u64) {
        if count == 0 {
            return;
        }
        self.free += count;
        self.releases += 1;
        self.kept.insert(request, self.front + self.queue.len() as u64);
        self.queue.push_back(Free::Kept { request, count });
    }

    /// How many of the blocks `request` left behind are still there.
    pub(super) fn kept(&self, request: u64) -> u64 {
        let entry =
            self.kept.get(&request).and_then(|at| self.queue.get((at - self.front) as usize));
        match entry {
            Some(Free::Kept { count, .. }) => *count,
            _ => 0,
        }
    }

    /// Takes back what is left of the blocks `request` left behind.
    pub(super) fn reclaim(&mut self, request: u64) {
        let count = self.kept(request);
        if let Some(position) = self.kept.remove(&request) {
            self.strike(position);
            self.free -= count;
        }
    }

    /// Makes the blocks an evicted request left behind nobody's: it will not come back.
    pub(super) fn forget(&mut self, request: u64) {
        let count = self.kept(request);
        if let Some(position) = self.kept.remove(&request) {
            let at = (position - self.front) as usize;
            self.queue[at] = Free::Plain(count);
        }
    }

    /// How many of the leading `hashes` are cached, and how many of those nobody holds.
    pub(super) fn cached(&self, hashes: impl Iterator<Item = u64>) -> (u32, u32) {
        let (mut hits, mut idle) = (0, 0);
        for hash in hashes {
            let Some(block) = self.cached.get(&hash) else { break };
            hits += 1;
            idle += u32::from(block.holders == 0);
        }
        (hits, idle)
    }

    /// Holds blocks that [`Self::cached`] found.
    pub(super) fn hold(&mut self, hashes: impl Iterator<Item = u64>) {
        for hash in hashes {
            let Some(block) = self.cached.get_mut(&hash) else { continue };
            block.holders += 1;
            if block.holders == 1 {
                let position = block.position;
                self.free -= 1;
                self.strike(position);
            }
        }
    }

    /// Makes a block the caller holds known by its hash. False when that content is known already: the caller's copy
    /// stays its own.
    pub(super) fn publish(&mut self, hash: u64) -> bool {
        match self.cached.entry(hash) {
            std::collections::hash_map::Entry::Occupied(_) => false,
            std::collections::hash_map::Entry::Vacant(slot) => {
                slot.insert(Cached { holders: 1, position: 0 });
                true
            }
        }
    }

    /// Lets go of held blocks. The caller passes the tail first, so that a prefix loses its end before its beginning.
    pub(super) fn release_hashed(&mut self, hashes: impl Iterator<Item = u64>) {
        for hash in hashes {
            let Some(block) = self.cached.get_mut(&hash) else { continue };
            block.holders -= 1;
            if block.holders == 0 {
                block.position = self.front + self.queue.len() as u64;
                self.queue.push_back(Free::Hashed(hash));
                self.free += 1;
                self.releases += 1;
            }
        }
        if self.gone > 4096 && self.gone > self.queue.len() / 2 {
            self.compact();
        }
    }

    fn strike(&mut self, position: u64) {
        let at = (position - self.front) as usize;
        self.queue[at] = Free::Gone;
        self.gone += 1;
    }

    /// Drops struck entries: hits in a cache that is never full would let them pile up.
    fn compact(&mut self) {
        self.queue.retain(|entry| !matches!(entry, Free::Gone));
        self.gone = 0;
        for (at, entry) in self.queue.iter().enumerate() {
            let position = self.front + at as u64;
            match entry {
                Free::Hashed(hash) => {
                    if let Some(block) = self.cached.get_mut(hash) {
                        block.position = position;
                    }
                }
                Free::Kept { request, .. } => {
                    self.kept.insert(*request, position);
                }
                Free::Plain(_) | Free::Gone => {}
            }
        }
    }
}

/// One multiplication: prefix hashes are well mixed already, ids need only be spread.
#[derive(Debug, Clone, Copy, Default)]
struct MixHasher(u64);

impl Hasher for MixHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte) ^ self.0);
        }
    }

    fn write_u64(&mut self, value: u64) {
        let product = u128::from(value ^ 0xf39c_c060_5ced_c835) * 0x9e37_79b9_7f4a_7c15;
        self.0 = (product >> 64) as u64 ^ product as u64;
    }
}
