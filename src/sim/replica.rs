//! One serving engine in simulated time: vLLM V1's scheduler over paged KV memory.
//!
//! Time passes in steps. A step is planned when it begins (`schedule`), and felt when it ends (`progress`). A run of
//! steps in which nothing but decoding happens is taken in one go (`stride`) unless the observer asks for every step;
//! the history is the same to the picosecond.

use std::collections::VecDeque;

use super::cost::StepTime;
use super::lockstep::Lockstep;
use super::pool::Pool;
use super::schedule::Plan;
use super::sequence::Sequence;
use super::speculation::Speculation;
use super::ticks::{Ps, ps, seconds};
use super::usage::Usage;
use super::{Observer, Refusal, ReplicaSpec, Request};

/// A simulated replica. Give it requests, then let time pass.
#[derive(Debug, Clone)]
pub struct Replica {
    pub(super) spec: ReplicaSpec,
    pub(super) cost: StepTime,
    pub(super) pool: Pool,
    /// Every request inside, by slot.
    pub(super) slots: Vec<Sequence>,
    vacant: Vec<u32>,
    /// Submitted, not yet arrived; by arrival.
    pub(super) inbox: VecDeque<(Ps, Request)>,
    pub(super) waiting: VecDeque<u32>,
    /// In order of admission: the last is evicted first.
    pub(super) running: Vec<u32>,
    /// Those of `running` that are in prefill or catching up, in the same order.
    pub(super) behind: Vec<u32>,
    /// Those of `running` that decode.
    pub(super) lockstep: Lockstep,
    pub(super) speculation: Speculation,
    /// When the last step ended; the next one begins then, or when something arrives.
    pub(super) now: Ps,
    pub(super) step: Option<Plan>,
    /// A plan's list, kept for the next plan.
    pub(super) spare: Vec<(u32, u32)>,
    /// The request at the head of the queue that did not fit, and the pool's releases when it was tried.
    pub(super) blocked: Option<(u64, u64)>,
    pub(super) totals: Totals,
    pub(super) usage: Usage,
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
        let blocks = spec.kv_blocks()?;
        Ok(Self {
            cost: StepTime::new(&spec),
            pool: Pool::new(blocks),
            slots: Vec::new(),
            vacant: Vec::new(),
            inbox: VecDeque::new(),
            waiting: VecDeque::new(),
            running: Vec::new(),
            behind: Vec::new(),
            lockstep: Lockstep::new(spec.config.block_size),
            speculation: Speculation::new(spec.config.speculative_tokens),
            now: 0,
            step: None,
            spare: Vec::new(),
            blocked: None,
            totals: Totals::default(),
            usage: Usage::new(blocks),
            spec,
        })
    }

    /// Hands a request over: now, or ahead of its arrival. One that arrives in the past arrives now.
    pub fn submit(&mut self, request: Request) {
        let arrival = ps(request.arrival_s);
        let at = self.inbox.iter().rposition(|(other, _)| *other <= arrival).map_or(0, |at| at + 1);
        self.inbox.insert(at, (arrival, request));
    }

    /// Lets time pass until `until_s` [s]: every step that ends by then is done.
    ///
    /// Many short advances give the same history as one long one, as long as a request is submitted before its arrival
    /// has passed.
    pub fn advance_to<O: Observer>(&mut self, until_s: f64, observer: &mut O) {
        let until = ps(until_s);
        loop {
            match self.step.take_if(|step| step.ends <= until) {
                Some(step) => self.complete(step, observer),
                None if self.step.is_some() => break,
                None if !self.begin(until, observer) => break,
                None => {}
            }
        }
        self.take_arrivals(until, observer);
    }

    /// Takes a request out, wherever it is. Nothing is reported.
    pub fn abort(&mut self, id: u64) {
        self.inbox.retain(|(_, request)| request.id != id);
        let waits =
            self.waiting.iter().position(|slot| self.slots[*slot as usize].request.id == id);
        if let Some(slot) = waits.and_then(|at| self.waiting.remove(at)) {
            self.pool.forget(id);
            self.vacate(slot);
        }
        let runs = self.running.iter().position(|slot| self.slots[*slot as usize].request.id == id);
        if let Some(at) = runs {
            let slot = self.running.remove(at);
            let under_way = self.step.as_ref().map_or(0, |step| step.tokens_each);
            self.leave_lockstep(slot, under_way);
            self.behind.retain(|other| *other != slot);
            if let Some(step) = &mut self.step {
                step.pieces.retain(|(other, _)| *other != slot);
            }
            self.free(slot);
            self.vacate(slot);
        }
    }

    /// When something will happen next [s]; `None` when it is idle.
    pub fn next_event_s(&self) -> Option<f64> {
        if let Some(step) = &self.step {
            return Some(seconds(step.ends));
        }
        if !self.running.is_empty() || !self.waiting.is_empty() {
            return Some(seconds(self.now));
        }
        self.inbox.front().map(|(arrival, _)| seconds(self.now.max(*arrival)))
    }

    /// Requests in the batch.
    pub fn running(&self) -> u32 {
        self.running.len() as u32
    }

    /// Requests waiting for a seat or for memory.
    pub fn waiting(&self) -> u32 {
        self.waiting.len() as u32
    }

    /// KV blocks that requests hold; vLLM's usage gauge counts these, not what is merely cached.
    pub fn kv_used_blocks(&self) -> u64 {
        self.pool.used()
    }

    /// KV blocks there are.
    pub fn kv_total_blocks(&self) -> u64 {
        self.pool.total()
    }

    /// Counters since the start.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Prompt tokens found in the prefix cache since the start.
    pub fn prefix_hits_tokens(&self) -> u64 {
        self.totals.prefix_hits_tokens
    }

    /// Prompt tokens looked up in the prefix cache since the start.
    pub fn prefix_queries_tokens(&self) -> u64 {
        self.totals.prefix_queries_tokens
    }

    /// Evictions since the start.
    pub fn preemptions_total(&self) -> u64 {
        self.totals.preemptions
    }

    /// What it is made of.
    pub fn spec(&self) -> &ReplicaSpec {
        &self.spec
    }

    /// Makes every step that begins from now on this many times as long as the model says: a throttled or shared
    /// device. It replaces the coefficients' own `slowdown`.
    pub fn set_slowdown(&mut self, factor: f64) {
        self.cost.set_slowdown(factor);
    }

    /// Requests inside, those that arrive this very moment included.
    pub(super) fn load(&self) -> usize {
        self.running.len() + self.waiting.len() + self.inbox.len()
    }

    pub(super) fn usage(&self) -> Usage {
        self.usage
    }

    /// Puts arrivals before `bound` in the queue, or refuses them.
    pub(super) fn take_arrivals<O: Observer>(&mut self, bound: Ps, observer: &mut O) {
        while self.inbox.front().is_some_and(|(arrival, _)| *arrival < bound) {
            let Some((arrival, request)) = self.inbox.pop_front() else { return };
            if self.admits(&request) {
                let slot = self.occupy(Sequence::new(request, arrival));
                self.waiting.push_back(slot);
            } else {
                observer.refused(&request, seconds(arrival));
            }
        }
    }

    /// The API server's check: fits the context window and the memory, and the queue has room.
    fn admits(&self, request: &Request) -> bool {
        let config = &self.spec.config;
        let length = request.input_tokens.saturating_add(request.output_tokens.max(1));
        let blocks = u64::from(length.div_ceil(config.block_size));
        let full = config.max_num_queued_reqs.is_some_and(|max| self.waiting() >= max);
        length <= config.max_model_len && blocks < self.pool.total() && !full
    }

    fn occupy(&mut self, mut sequence: Sequence) -> u32 {
        sequence.request.input_tokens = sequence.request.input_tokens.max(1);
        sequence.request.output_tokens = sequence.request.output_tokens.max(1);
        match self.vacant.pop() {
            Some(slot) => {
                self.slots[slot as usize] = sequence;
                slot
            }
            None => {
                self.slots.push(sequence);
                (self.slots.len() - 1) as u32
            }
        }
    }

    pub(super) fn vacate(&mut self, slot: u32) {
        // The hashes are the only large part; the slot itself is overwritten by its next tenant.
        self.slots[slot as usize].request.prefix_hashes = Vec::new();
        self.vacant.push(slot);
    }

    /// Ends a request's decoding in step, if it does; `under_way` tokens are reserved by the step in flight.
    pub(super) fn leave_lockstep(&mut self, slot: u32, under_way: u32) {
        let block_size = self.spec.config.block_size;
        let sequence = &mut self.slots[slot as usize];
        let Some(joined) = sequence.joined.take() else { return };
        let (tokens, longest) = self.lockstep.leave(joined);
        if tokens > 0 {
            sequence.last_token = self.now;
            sequence.gap_max = sequence.gap_max.max(longest);
        }
        // The last step of speculation may yield more than was asked for.
        sequence.generated += tokens.min(sequence.remaining());
        sequence.computed += tokens;
        sequence.blocks = (sequence.computed + under_way).div_ceil(block_size);
        self.publish(slot);
    }

    /// Makes a request's full blocks known by their hashes, as far as it has hashes.
    pub(super) fn publish(&mut self, slot: u32) {
        let config = &self.spec.config;
        let sequence = &mut self.slots[slot as usize];
        if !config.enable_prefix_caching || !sequence.publishes {
            return;
        }
        let full = sequence.computed / config.block_size;
        let (mut shared, mut publishes) = (sequence.shared, true);
        for hash in sequence.block_hashes(shared..full, config.block_size) {
            publishes = self.pool.publish(hash);
            if !publishes {
                break;
            }
            shared += 1;
        }
        sequence.shared = shared;
        sequence.publishes = publishes;
    }

    /// Gives back all of a request's blocks; what has a hash stays cached.
    pub(super) fn free(&mut self, slot: u32) {
        let sequence = &self.slots[slot as usize];
        self.pool.release_plain(u64::from(sequence.blocks - sequence.shared));
        self.release_shared(slot);
    }

    pub(super) fn release_shared(&mut self, slot: u32) {
        let sequence = &self.slots[slot as usize];
        let hashes = sequence.block_hashes(0..sequence.shared, self.spec.config.block_size);
        self.pool.release_hashed(hashes.rev());
    }
}
