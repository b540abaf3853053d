//! One request inside a replica.

use super::blocks::HASH_TOKENS;
use super::{Completion, Request};

/// A request that waits or runs.
#[derive(Debug, Clone)]
pub(super) struct Sequence {
    pub(super) request: Request,
    /// Tokens whose KV is there.
    pub(super) computed: u32,
    /// Answer tokens so far.
    pub(super) generated: u32,
    /// KV blocks of its own.
    pub(super) own_blocks: u64,
    /// Leading pieces it holds in the cache.
    pub(super) held_pieces: usize,
    pub(super) cached_tokens: u32,
    pub(super) scheduled_s: Option<f64>,
    pub(super) first_token_s: f64,
    pub(super) last_token_s: f64,
    pub(super) itl_max_s: f64,
    pub(super) preemptions: u32,
}

impl Sequence {
    pub(super) fn new(request: Request) -> Self {
        Self {
            request,
            computed: 0,
            generated: 0,
            own_blocks: 0,
            held_pieces: 0,
            cached_tokens: 0,
            scheduled_s: None,
            first_token_s: 0.0,
            last_token_s: 0.0,
            itl_max_s: 0.0,
            preemptions: 0,
        }
    }

    /// Tokens there are: prompt and answer so far.
    pub(super) fn length(&self) -> u32 {
        self.request.input_tokens + self.generated
    }

    /// Tokens not yet computed: one in decode, more in prefill or after an eviction.
    pub(super) fn pending(&self) -> u32 {
        self.length() - self.computed
    }

    /// Whether the next piece is prefill.
    pub(super) fn in_prefill(&self) -> bool {
        self.computed < self.request.input_tokens || self.pending() > 1
    }

    /// Blocks needed of its own to hold `tokens` tokens, the held pieces aside.
    pub(super) fn blocks_for(&self, tokens: u32, block_size: u32) -> u64 {
        let shared = self.held_pieces as u32 * HASH_TOKENS;
        u64::from(tokens.saturating_sub(shared).div_ceil(block_size))
    }

    /// Back to the queue: everything is computed again.
    pub(super) fn evict(&mut self) {
        self.computed = 0;
        self.own_blocks = 0;
        self.held_pieces = 0;
        self.preemptions += 1;
    }

    pub(super) fn completion(&self) -> Completion {
        Completion {
            id: self.request.id,
            arrival_s: self.request.arrival_s,
            scheduled_s: self.scheduled_s.unwrap_or(self.request.arrival_s),
            first_token_s: self.first_token_s,
            finished_s: self.last_token_s,
            input_tokens: self.request.input_tokens,
            output_tokens: self.generated,
            itl_max_s: self.itl_max_s,
            preemptions: self.preemptions,
            cached_tokens: self.cached_tokens,
        }
    }
}
