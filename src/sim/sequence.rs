//! One request inside a replica.

use super::lockstep::Joined;
use super::ticks::{Ps, seconds};
use super::{Completion, Request};

/// Prefix hashes name pieces of this many tokens.
pub(super) const HASH_TOKENS: u32 = 16;

/// A request that waits or runs.
#[derive(Debug, Clone)]
pub(super) struct Sequence {
    pub(super) request: Request,
    pub(super) arrival: Ps,
    /// Tokens whose KV is in memory; as of joining for a member of the lockstep.
    pub(super) computed: u32,
    /// Answer tokens so far; as of joining for a member of the lockstep.
    pub(super) generated: u32,
    /// KV blocks it holds, shared ones included; as of joining for a member of the lockstep.
    pub(super) blocks: u32,
    /// Leading blocks that it holds by hash.
    pub(super) shared: u32,
    /// Where what it left behind when it was evicted begins [blocks].
    pub(super) kept_from: u32,
    /// False once it met content that another request had published: what follows stays its own.
    pub(super) publishes: bool,
    /// Its place among those that decode in step.
    pub(super) joined: Option<Joined>,
    pub(super) cached_tokens: u32,
    pub(super) scheduled: Option<Ps>,
    pub(super) first_token: Ps,
    pub(super) last_token: Ps,
    pub(super) gap_max: Ps,
    pub(super) preemptions: u32,
}

impl Sequence {
    pub(super) fn new(request: Request, arrival: Ps) -> Self {
        Self {
            request,
            arrival,
            computed: 0,
            generated: 0,
            blocks: 0,
            shared: 0,
            kept_from: 0,
            publishes: true,
            joined: None,
            cached_tokens: 0,
            scheduled: None,
            first_token: 0,
            last_token: 0,
            gap_max: 0,
            preemptions: 0,
        }
    }

    /// Tokens there are: prompt and answer so far.
    pub(super) fn length(&self) -> u32 {
        self.request.input_tokens + self.generated
    }

    /// Tokens not yet computed.
    pub(super) fn pending(&self) -> u32 {
        self.length() - self.computed
    }

    /// Answer tokens still to come.
    pub(super) fn remaining(&self) -> u32 {
        self.request.output_tokens - self.generated
    }

    /// Blocks needed beyond those it holds to have `tokens` tokens in memory.
    pub(super) fn blocks_to(&self, tokens: u32, block_size: u32) -> u32 {
        tokens.div_ceil(block_size).saturating_sub(self.blocks)
    }

    /// Hash of each leading block up to `blocks`, as far as hashes are known. Hashes are chained: the one of a block's
    /// last piece stands for everything before it.
    pub(super) fn block_hashes(
        &self,
        blocks: std::ops::Range<u32>,
        block_size: u32,
    ) -> impl DoubleEndedIterator<Item = u64> + '_ {
        let pieces = (block_size / HASH_TOKENS) as usize;
        let known = self.request.prefix_hashes.len() / pieces.max(1);
        let (start, end) = (blocks.start as usize, (blocks.end as usize).min(known));
        (start.min(end)..end).map(move |block| self.request.prefix_hashes[(block + 1) * pieces - 1])
    }

    /// Notes that the next answer token came at `at`; returns the gap to the one before.
    pub(super) fn token(&mut self, at: Ps) -> Option<Ps> {
        let gap = (self.generated > 0).then(|| at - self.last_token);
        match gap {
            None => self.first_token = at,
            Some(gap) => self.gap_max = self.gap_max.max(gap),
        }
        self.generated += 1;
        self.last_token = at;
        gap
    }

    /// Back to the queue without memory: everything is computed again.
    pub(super) fn evict(&mut self) {
        self.computed = 0;
        self.blocks = 0;
        self.shared = 0;
        self.publishes = true;
        self.preemptions += 1;
    }

    /// What its client saw; every token reaches it `overhead_s` after the step that made it.
    pub(super) fn completion(&self, overhead_s: f64) -> Completion {
        Completion {
            id: self.request.id,
            arrival_s: self.request.arrival_s,
            // A moment in whole picoseconds may be a hair before the arrival as it was given.
            scheduled_s: seconds(self.scheduled.unwrap_or(self.arrival))
                .max(self.request.arrival_s),
            first_token_s: seconds(self.first_token) + overhead_s,
            finished_s: seconds(self.last_token) + overhead_s,
            input_tokens: self.request.input_tokens,
            output_tokens: self.generated,
            itl_max_s: seconds(self.gap_max),
            preemptions: self.preemptions,
            cached_tokens: self.cached_tokens,
        }
    }
}
