//! One serving engine in simulated time: vLLM V1's scheduler over paged KV memory.
//!
//! Source of the scheduling rules: vLLM `v1/core/sched/scheduler.py` (running first, then waiting; one token budget;
//! last-in-first-out preemption by recompute).

use std::collections::VecDeque;

use super::blocks::{Blocks, HASH_TOKENS};
use super::cost::{Batch, StepTime};
use super::sequence::Sequence;
use super::{Observer, Refusal, ReplicaSpec, Request, Step};

/// A simulated replica. Give it requests in order of arrival, then let time pass.
#[derive(Debug, Clone)]
pub struct Replica {
    spec: ReplicaSpec,
    step_time: StepTime,
    blocks: Blocks,
    /// Submitted, not yet arrived.
    inbox: VecDeque<Request>,
    waiting: VecDeque<Sequence>,
    running: Vec<Sequence>,
    now_s: f64,
    step: Option<Planned>,
    totals: Totals,
}

/// A step under way: how many tokens each running request gets.
#[derive(Debug, Clone)]
struct Planned {
    ends_s: f64,
    duration_s: f64,
    /// Parallel to `running`.
    pieces: Vec<u32>,
    tokens: u32,
    prefill_tokens: u32,
    preempted: u32,
}

/// Counters since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Evictions.
    pub preemptions: u64,
    /// Prompt tokens looked up in the prefix cache.
    pub prefix_queries_tokens: u64,
    /// Of these, found.
    pub prefix_hits_tokens: u64,
}

impl Replica {
    /// A replica at time 0 with empty memory.
    ///
    /// Errors: what [`ReplicaSpec::kv_blocks`] refuses.
    pub fn new(spec: ReplicaSpec) -> Result<Self, Refusal> {
        let blocks = Blocks::new(spec.kv_blocks()?, spec.config.block_size);
        Ok(Self {
            step_time: StepTime::new(&spec),
            blocks,
            spec,
            inbox: VecDeque::new(),
            waiting: VecDeque::new(),
            running: Vec::new(),
            now_s: 0.0,
            step: None,
            totals: Totals::default(),
        })
    }

    /// Hands a request over. Requests come in order of arrival, none before the time already passed.
    pub fn submit(&mut self, request: Request) {
        self.inbox.push_back(request);
    }

    /// Lets time pass until `until_s` [s]: every step that ends by then is done.
    pub fn advance_to<O: Observer>(&mut self, until_s: f64, observer: &mut O) {
        loop {
            if self.step.is_none() && !self.plan(until_s, observer) {
                return;
            }
            match &self.step {
                Some(step) if step.ends_s <= until_s => self.finish_step(observer),
                _ => return,
            }
        }
    }

    /// Takes a request out, wherever it is. Nothing is reported.
    pub fn abort(&mut self, id: u64) {
        self.inbox.retain(|request| request.id != id);
        self.waiting.retain(|sequence| sequence.request.id != id);
        if let Some(at) = self.running.iter().position(|s| s.request.id == id) {
            let sequence = self.running.remove(at);
            self.free(&sequence);
            if let Some(step) = &mut self.step {
                step.pieces.remove(at);
            }
        }
    }

    /// When something will happen next [s]; `None` when it is idle.
    pub fn next_event_s(&self) -> Option<f64> {
        let step = self.step.as_ref().map(|step| step.ends_s);
        step.or_else(|| self.inbox.front().map(|request| request.arrival_s.max(self.now_s)))
    }

    /// Requests in the batch.
    pub fn running(&self) -> u32 {
        self.running.len() as u32
    }

    /// Requests waiting for a seat or for memory.
    pub fn waiting(&self) -> u32 {
        self.waiting.len() as u32
    }

    /// KV blocks needed right now.
    pub fn kv_used_blocks(&self) -> u64 {
        self.blocks.used()
    }

    /// KV blocks there are.
    pub fn kv_total_blocks(&self) -> u64 {
        self.blocks.total()
    }

    /// Counters since the start.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// What it is made of.
    pub fn spec(&self) -> &ReplicaSpec {
        &self.spec
    }

    /// Makes every later step slower (or faster again) by this factor: a throttled or shared device.
    pub fn set_slowdown(&mut self, factor: f64) {
        self.step_time.slowdown = factor;
    }

    /// Plans the next step. False when there is nothing to do before `until_s`.
    fn plan<O: Observer>(&mut self, until_s: f64, observer: &mut O) -> bool {
        if self.running.is_empty() && self.waiting.is_empty() {
            match self.inbox.front() {
                Some(next) if next.arrival_s <= until_s => {
                    self.now_s = self.now_s.max(next.arrival_s);
                }
                _ => return false,
            }
        }
        self.admit_arrivals(observer);
        let mut budget = self.spec.config.max_num_batched_tokens;
        let (mut pieces, preempted) = self.plan_running(&mut budget);
        if preempted == 0 {
            self.plan_waiting(&mut budget, &mut pieces);
        }
        let batch = self.batch(&pieces);
        if batch.tokens == 0 {
            // Everything that waits was refused, or nothing fits: only an arrival can change that.
            return self.skip_to_arrival(until_s, observer);
        }
        let prefill_tokens = self.prefill_tokens(&pieces);
        let duration_s = self.step_time.seconds(&batch);
        let ends_s = self.now_s + duration_s;
        let tokens = batch.tokens;
        self.step = Some(Planned { ends_s, duration_s, pieces, tokens, prefill_tokens, preempted });
        true
    }

    fn skip_to_arrival<O: Observer>(&mut self, until_s: f64, observer: &mut O) -> bool {
        match self.inbox.front().map(|next| next.arrival_s) {
            Some(arrival_s) if arrival_s <= until_s && arrival_s > self.now_s => {
                self.now_s = arrival_s;
                self.plan(until_s, observer)
            }
            _ => false,
        }
    }

    /// Moves what has arrived into the queue, or refuses it.
    fn admit_arrivals<O: Observer>(&mut self, observer: &mut O) {
        let config = &self.spec.config;
        while let Some(next) = self.inbox.front() {
            if next.arrival_s > self.now_s {
                return;
            }
            let too_long =
                next.input_tokens.saturating_add(next.output_tokens) > config.max_model_len;
            let full =
                config.max_num_queued_reqs.is_some_and(|max| self.waiting.len() as u32 >= max);
            let Some(request) = self.inbox.pop_front() else { return };
            if too_long || full {
                observer.refused(&request, self.now_s);
            } else {
                self.waiting.push_back(Sequence::new(request));
            }
        }
    }

    /// Pieces for the requests in the batch, oldest first; the newest are evicted when memory runs out.
    fn plan_running(&mut self, budget: &mut u32) -> (Vec<u32>, u32) {
        let mut pieces = Vec::with_capacity(self.running.len() + 1);
        let mut preempted = 0;
        let mut at = 0;
        while at < self.running.len() {
            let piece = self.piece(&self.running[at], *budget);
            let fits = loop {
                if self.grow(at, piece) {
                    break true;
                }
                let Some(victim) = self.running.pop() else { break false };
                preempted += 1;
                self.preempt(victim);
                if at >= self.running.len() {
                    break false;
                }
            };
            if !fits {
                break;
            }
            *budget -= piece;
            pieces.push(piece);
            at += 1;
        }
        (pieces, preempted)
    }

    /// Pieces for the requests at the head of the queue, while there are seats, budget and memory.
    fn plan_waiting(&mut self, budget: &mut u32, pieces: &mut Vec<u32>) {
        while *budget > 0 && (self.running.len() as u32) < self.spec.config.max_num_seqs {
            let Some(mut sequence) = self.waiting.pop_front() else { return };
            let held = self.look_up(&sequence);
            let cached = held as u32 * HASH_TOKENS;
            sequence.computed = cached;
            let piece = self.piece(&sequence, *budget);
            let whole = piece == sequence.pending();
            sequence.held_pieces = held;
            let own = sequence.blocks_for(cached + piece, self.spec.config.block_size);
            self.blocks.hold(&sequence.request.prefix_hashes[..held]);
            if (!self.spec.config.enable_chunked_prefill && !whole) || !self.blocks.take(own) {
                self.blocks.release(&sequence.request.prefix_hashes[..held]);
                sequence.computed = 0;
                sequence.held_pieces = 0;
                self.waiting.push_front(sequence);
                return;
            }
            sequence.own_blocks = own;
            self.count_lookup(&mut sequence, cached);
            sequence.scheduled_s.get_or_insert(self.now_s);
            *budget -= piece;
            pieces.push(piece);
            self.running.push(sequence);
        }
    }

    /// Leading pieces of the prompt that are cached. The last token is always computed: it gives the first answer token.
    fn look_up(&self, sequence: &Sequence) -> usize {
        if !self.spec.config.enable_prefix_caching {
            return 0;
        }
        let last_whole = (sequence.request.input_tokens.saturating_sub(1) / HASH_TOKENS) as usize;
        let hashes = &sequence.request.prefix_hashes;
        self.blocks.cached_pieces(&hashes[..hashes.len().min(last_whole)])
    }

    fn count_lookup(&mut self, sequence: &mut Sequence, cached: u32) {
        if self.spec.config.enable_prefix_caching {
            self.totals.prefix_queries_tokens += u64::from(sequence.request.input_tokens);
            self.totals.prefix_hits_tokens += u64::from(cached);
        }
        if sequence.preemptions == 0 {
            sequence.cached_tokens = cached;
        }
    }

    /// Tokens this request gets in a step.
    fn piece(&self, sequence: &Sequence, budget: u32) -> u32 {
        let threshold = match self.spec.config.long_prefill_token_threshold {
            0 => u32::MAX,
            threshold => threshold,
        };
        sequence.pending().min(budget).min(threshold)
    }

    /// Makes room for `piece` more tokens of the request at `at`.
    fn grow(&mut self, at: usize, piece: u32) -> bool {
        let sequence = &self.running[at];
        let needed = sequence.blocks_for(sequence.computed + piece, self.spec.config.block_size);
        let more = needed.saturating_sub(sequence.own_blocks);
        if more > 0 && !self.blocks.take(more) {
            return false;
        }
        self.running[at].own_blocks += more;
        true
    }

    fn preempt(&mut self, mut sequence: Sequence) {
        self.free(&sequence);
        sequence.evict();
        self.totals.preemptions += 1;
        self.waiting.push_front(sequence);
    }

    fn free(&mut self, sequence: &Sequence) {
        self.blocks.give_back(sequence.own_blocks);
        self.blocks.release(&sequence.request.prefix_hashes[..sequence.held_pieces]);
    }

    fn batch(&self, pieces: &[u32]) -> Batch {
        let mut batch = Batch::default();
        for (sequence, &piece) in self.running.iter().zip(pieces) {
            if piece == 0 {
                continue;
            }
            batch.tokens += piece;
            batch.requests += 1;
            let (context, n) = (f64::from(sequence.computed), f64::from(piece));
            if sequence.in_prefill() {
                batch.prefill_pairs += n * (context + n / 2.0);
            } else {
                batch.decode_context += context;
            }
        }
        batch
    }

    fn prefill_tokens(&self, pieces: &[u32]) -> u32 {
        let running = self.running.iter().zip(pieces);
        running.filter(|(s, _)| s.in_prefill()).map(|(_, piece)| *piece).sum()
    }

    /// Ends the step under way: tokens reach their clients, finished requests leave.
    fn finish_step<O: Observer>(&mut self, observer: &mut O) {
        let Some(step) = self.step.take() else { return };
        self.now_s = step.ends_s;
        observer.step(&Step {
            ended_s: step.ends_s,
            duration_s: step.duration_s,
            tokens: step.tokens,
            prefill_tokens: step.prefill_tokens,
            batch: step.pieces.iter().filter(|piece| **piece > 0).count() as u32,
            preempted: step.preempted,
        });
        let seen_s = step.ends_s + self.spec.coefficients.ttft_overhead_s;
        let mut finished = false;
        for (at, &piece) in step.pieces.iter().enumerate() {
            finished |= self.progress(at, piece, seen_s, observer);
        }
        if finished {
            self.leave(observer);
        }
    }

    /// Adds a piece to a request; true when that finished it.
    fn progress<O: Observer>(
        &mut self,
        at: usize,
        piece: u32,
        seen_s: f64,
        observer: &mut O,
    ) -> bool {
        let sequence = &mut self.running[at];
        let was_prefill = sequence.in_prefill();
        sequence.computed += piece;
        if piece == 0 || sequence.computed < sequence.length() {
            return false;
        }
        let gap_s = (sequence.generated > 0).then(|| seen_s - sequence.last_token_s);
        sequence.generated += 1;
        match gap_s {
            None => sequence.first_token_s = seen_s,
            Some(gap_s) => sequence.itl_max_s = sequence.itl_max_s.max(gap_s),
        }
        sequence.last_token_s = seen_s;
        observer.token(sequence.request.id, seen_s, gap_s);
        let done = sequence.generated >= sequence.request.output_tokens;
        if was_prefill {
            self.publish(at);
        }
        done
    }

    /// After a prefill the prompt's whole pieces are in the prefix cache.
    fn publish(&mut self, at: usize) {
        if !self.spec.config.enable_prefix_caching {
            return;
        }
        let sequence = &mut self.running[at];
        let whole = (sequence.request.input_tokens / HASH_TOKENS) as usize;
        let until = sequence.request.prefix_hashes.len().min(whole);
        if until > sequence.held_pieces {
            let fresh = &sequence.request.prefix_hashes[sequence.held_pieces..until];
            let moved = self.blocks.publish(fresh);
            sequence.own_blocks = sequence.own_blocks.saturating_sub(moved);
            sequence.held_pieces = until;
        }
    }

    fn leave<O: Observer>(&mut self, observer: &mut O) {
        let mut kept = Vec::with_capacity(self.running.len());
        for sequence in std::mem::take(&mut self.running) {
            if sequence.generated >= sequence.request.output_tokens {
                self.free(&sequence);
                observer.completion(&sequence.completion());
            } else {
                kept.push(sequence);
            }
        }
        self.running = kept;
    }
}
