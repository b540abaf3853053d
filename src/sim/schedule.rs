//! The beginning of a step: who gets how many tokens of the budget, who is admitted, who is evicted.
//!
//! Source of the rules: vLLM `v1/core/sched/scheduler.py`, `schedule`: running requests first, in order of admission,
//! then the queue; one token budget for prefill and decode; when memory runs out the newest is evicted and computed
//! again later; a request is admitted when its whole prompt fits the free blocks (`scheduler_reserve_full_isl`).

use super::cost::Batch;
use super::ticks::Ps;
use super::{Observer, Replica};

/// A step under way.
#[derive(Debug, Clone, Default)]
pub(super) struct Plan {
    pub(super) ends: Ps,
    pub(super) duration: Ps,
    /// Tokens each member of the lockstep gets.
    pub(super) tokens_each: u32,
    /// Everybody else's: slot and tokens.
    pub(super) pieces: Vec<(u32, u32)>,
    pub(super) prefill_tokens: u32,
    pub(super) preempted: u32,
    pub(super) batch: Batch,
}

impl Replica {
    /// Begins the next step, or takes a whole run of steps. False when there is nothing to do before `until`.
    pub(super) fn begin<O: Observer>(&mut self, until: Ps, observer: &mut O) -> bool {
        if self.is_idle() {
            match self.inbox.front() {
                Some((arrival, _)) if *arrival < until => self.now = self.now.max(*arrival),
                _ => return false,
            }
        }
        // A step that would begin at `until` waits for the caller: it may still submit what arrives then.
        if self.now >= until {
            return false;
        }
        self.take_arrivals(self.now + 1, observer);
        if self.stride(until, observer) {
            return true;
        }
        let used = self.pool.used();
        let mut plan = self.plan();
        if plan.batch.tokens == 0 {
            self.spare = plan.pieces;
            return plan.preempted > 0 || self.is_idle();
        }
        plan.duration = self.cost.step(&plan.batch);
        plan.ends = self.now + plan.duration;
        let held = (used, self.pool.used());
        self.usage.add(plan.duration, self.running.len(), self.waiting.len(), held);
        self.step = Some(plan);
        true
    }

    fn is_idle(&self) -> bool {
        self.running.is_empty() && self.waiting.is_empty()
    }

    fn plan(&mut self) -> Plan {
        let mut plan = Plan { pieces: std::mem::take(&mut self.spare), ..Plan::default() };
        plan.pieces.clear();
        let mut budget = self.spec.config.max_num_batched_tokens;
        let members = self.lockstep.size();
        let drafts = self.speculation.drafts(members, budget);
        if members > 0 {
            plan.tokens_each = self.speculation.tokens(drafts);
            plan.batch.drafts = drafts;
        }
        if self.everybody_fits(plan.tokens_each, members * (1 + drafts)) {
            self.grow_everybody(&mut plan, &mut budget, members * (1 + drafts));
        } else {
            self.grow_in_order(&mut plan, &mut budget, 1 + drafts);
        }
        if plan.preempted == 0 {
            self.admit(&mut plan, &mut budget);
        }
        // Counted now: evictions may have taken members out.
        let decoding = self.lockstep.size();
        plan.batch.tokens += decoding * (1 + drafts);
        plan.batch.sampled += decoding * (1 + drafts);
        plan.batch.requests += decoding;
        plan.batch.context += self.lockstep.context();
        plan
    }

    /// Whether all running requests get what they want whatever their order. Without a piece limit the only one that
    /// may get less than it wants is the last, so order does not matter then either.
    fn everybody_fits(&self, tokens_each: u32, decode_tokens: u32) -> bool {
        let Some(mut left) = self.spec.config.max_num_batched_tokens.checked_sub(decode_tokens)
        else {
            return false;
        };
        let mut blocks = self.lockstep.blocks_for(u64::from(tokens_each));
        let limited = self.spec.config.long_prefill_token_threshold > 0;
        for slot in &self.behind {
            let wanted = self.piece(*slot);
            if limited && wanted > left {
                return false;
            }
            let piece = wanted.min(left);
            left -= piece;
            blocks += u64::from(self.blocks_for_piece(*slot, piece));
        }
        blocks <= self.pool.free()
    }

    fn grow_everybody(&mut self, plan: &mut Plan, budget: &mut u32, decode_tokens: u32) {
        *budget -= decode_tokens;
        self.pool.take(self.lockstep.blocks_for(u64::from(plan.tokens_each)));
        for at in 0..self.behind.len() {
            let slot = self.behind[at];
            let piece = self.piece(slot).min(*budget);
            if piece > 0 {
                self.pool.take(u64::from(self.blocks_for_piece(slot, piece)));
                self.give(plan, slot, piece);
                *budget -= piece;
            }
        }
    }

    /// Serves running requests one by one, evicting from the end when memory runs out. A decoding request that the
    /// budget does not reach falls behind.
    fn grow_in_order(&mut self, plan: &mut Plan, budget: &mut u32, tokens_per_decode: u32) {
        let mut at = 0;
        while at < self.running.len() && *budget > 0 {
            let slot = self.running[at];
            let decodes = self.slots[slot as usize].joined.is_some();
            if decodes && tokens_per_decode > *budget {
                break;
            }
            let tokens = if decodes { tokens_per_decode } else { self.piece(slot).min(*budget) };
            let blocks = if decodes {
                self.blocks_for_member(slot, plan.tokens_each)
            } else {
                self.blocks_for_piece(slot, tokens)
            };
            if !self.make_room(at, u64::from(blocks), plan) {
                break;
            }
            self.pool.take(u64::from(blocks));
            if !decodes {
                self.give(plan, slot, tokens);
            }
            *budget -= tokens;
            at += 1;
        }
        for later in at..self.running.len() {
            self.leave_lockstep(self.running[later], 0);
        }
        let slots = &self.slots;
        self.behind.clear();
        self.behind.extend(self.running.iter().filter(|s| slots[**s as usize].joined.is_none()));
    }

    /// Evicts the newest until `blocks` are free. False when the request at `at` had to go itself.
    fn make_room(&mut self, at: usize, blocks: u64, plan: &mut Plan) -> bool {
        while self.pool.free() < blocks {
            let Some(victim) = self.running.pop() else { return false };
            self.evict(victim);
            plan.preempted += 1;
            if self.running.len() <= at {
                return false;
            }
        }
        true
    }

    fn evict(&mut self, slot: u32) {
        self.leave_lockstep(slot, 0);
        let block_size = self.spec.config.block_size;
        let sequence = &self.slots[slot as usize];
        let (id, own) = (sequence.request.id, sequence.blocks - sequence.shared);
        let full = (sequence.computed / block_size).saturating_sub(sequence.shared);
        let kept = if self.spec.config.enable_prefix_caching { full.min(own) } else { 0 };
        self.pool.release_plain(u64::from(own - kept));
        self.pool.release_kept(id, u64::from(kept));
        self.release_shared(slot);
        let sequence = &mut self.slots[slot as usize];
        sequence.kept_from = sequence.shared;
        sequence.evict();
        self.waiting.push_front(slot);
        self.totals.preemptions += 1;
    }

    /// Admits from the head of the queue while there are seats, budget and memory.
    fn admit(&mut self, plan: &mut Plan, budget: &mut u32) {
        while *budget > 0 && self.may_admit() {
            let Some(slot) = self.waiting.front().copied() else { return };
            let found = self.look_up(slot);
            let block_size = self.spec.config.block_size;
            let sequence = &self.slots[slot as usize];
            let cached = found.blocks() * block_size;
            let wanted = self.limited(sequence.length() - cached);
            if !self.spec.config.enable_chunked_prefill && wanted > *budget {
                return;
            }
            // Its own blocks must be free for the whole prompt, beside the cached ones that are free only by name.
            let whole = sequence.length().div_ceil(block_size) - found.blocks();
            if u64::from(whole + found.idle + found.kept) > self.pool.free() {
                self.blocked = Some((sequence.request.id, self.pool.releases()));
                return;
            }
            let piece = wanted.min(*budget);
            self.waiting.pop_front();
            self.seat(slot, found);
            self.pool.take(u64::from(self.blocks_for_piece(slot, piece)));
            self.running.push(slot);
            self.behind.push(slot);
            self.give(plan, slot, piece);
            *budget -= piece;
        }
    }

    /// Whether the head of the queue is worth a try: there is a seat, and it has not failed since memory last grew.
    pub(super) fn may_admit(&self) -> bool {
        let Some(head) = self.waiting.front() else { return false };
        let id = self.slots[*head as usize].request.id;
        (self.running.len() as u32) < self.spec.config.max_num_seqs
            && self.blocked != Some((id, self.pool.releases()))
    }

    /// What of a waiting request is in memory already. The last token is always computed: it gives the next one.
    fn look_up(&self, slot: u32) -> Found {
        let config = &self.spec.config;
        if !config.enable_prefix_caching {
            return Found::default();
        }
        let sequence = &self.slots[slot as usize];
        let most = (sequence.length() - 1) / config.block_size;
        let (hits, idle) = self.pool.cached(sequence.block_hashes(0..most, config.block_size));
        let kept = self.pool.kept(sequence.request.id) as u32;
        let usable = sequence.preemptions > 0 && hits == sequence.kept_from;
        Found { hits, idle, kept: if usable { kept.min(most - hits) } else { 0 } }
    }

    fn seat(&mut self, slot: u32, found: Found) {
        let config = &self.spec.config;
        let sequence = &mut self.slots[slot as usize];
        self.pool.hold(sequence.block_hashes(0..found.hits, config.block_size));
        if found.kept > 0 {
            self.pool.reclaim(sequence.request.id);
        } else if sequence.preemptions > 0 {
            self.pool.forget(sequence.request.id);
        }
        sequence.shared = found.hits;
        sequence.blocks = found.blocks();
        sequence.computed = found.blocks() * config.block_size;
        // What was kept is its own: publishing goes on only where hashes go on.
        sequence.publishes = found.kept == 0;
        sequence.scheduled.get_or_insert(self.now);
        if sequence.preemptions == 0 && config.enable_prefix_caching {
            sequence.cached_tokens = sequence.computed;
            self.totals.prefix_queries_tokens += u64::from(sequence.length());
            self.totals.prefix_hits_tokens += u64::from(sequence.computed);
        }
    }

    /// Puts a piece of a request into the plan; its blocks are taken already.
    fn give(&mut self, plan: &mut Plan, slot: u32, piece: u32) {
        let block_size = self.spec.config.block_size;
        let sequence = &mut self.slots[slot as usize];
        let before = sequence.computed;
        sequence.blocks += sequence.blocks_to(before + piece, block_size);
        plan.batch.tokens += piece;
        plan.batch.requests += 1;
        plan.batch.sampled += u32::from(piece == sequence.pending());
        if piece == 1 {
            plan.batch.context += u64::from(before);
        } else {
            let n = f64::from(piece);
            plan.batch.prefill_pairs += n * (f64::from(before) + n / 2.0);
        }
        if sequence.pending() > 1 {
            plan.prefill_tokens += piece;
        }
        // vLLM makes blocks known when they are scheduled, not when they are computed.
        sequence.computed += piece;
        self.publish(slot);
        self.slots[slot as usize].computed = before;
        plan.pieces.push((slot, piece));
    }

    /// Tokens a request that is behind wants from one step.
    fn piece(&self, slot: u32) -> u32 {
        self.limited(self.slots[slot as usize].pending())
    }

    fn limited(&self, tokens: u32) -> u32 {
        match self.spec.config.long_prefill_token_threshold {
            0 => tokens,
            limit => tokens.min(limit),
        }
    }

    fn blocks_for_piece(&self, slot: u32, piece: u32) -> u32 {
        let sequence = &self.slots[slot as usize];
        sequence.blocks_to(sequence.computed + piece, self.spec.config.block_size)
    }

    fn blocks_for_member(&self, slot: u32, tokens: u32) -> u32 {
        let block_size = self.spec.config.block_size;
        let sequence = &self.slots[slot as usize];
        let progress = sequence.joined.map_or(0, |joined| self.lockstep.progress(joined));
        let context = sequence.computed + progress;
        (context + tokens).div_ceil(block_size) - context.div_ceil(block_size)
    }
}

/// What of a waiting request is in memory [blocks].
#[derive(Debug, Clone, Copy, Default)]
struct Found {
    /// By prefix hash.
    hits: u32,
    /// Of these, held by nobody.
    idle: u32,
    /// Left behind by itself when it was evicted.
    kept: u32,
}

impl Found {
    fn blocks(self) -> u32 {
        self.hits + self.kept
    }
}
