//! Everything a server counts, as vLLM counts it.

use super::histogram::{Histogram, Scale};
use crate::sim::{Completion, Step};

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// The model was done.
    Stop,
    /// `max_tokens` was reached.
    Length,
}

/// Counts since the start. vLLM counts a request's first token, with its whole prompt, when it leaves the engine, a gap
/// at each later token, and everything else only when the request is over.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Counters {
    pub(super) ttft: Histogram,
    pub(super) itl: Histogram,
    pub(super) tpot: Histogram,
    pub(super) e2e: Histogram,
    pub(super) queue: Histogram,
    pub(super) prefill: Histogram,
    pub(super) decode: Histogram,
    pub(super) inference: Histogram,
    pub(super) step_tokens: Histogram,
    pub(super) input: Histogram,
    pub(super) computed: Histogram,
    pub(super) output: Histogram,
    pub(super) n: Histogram,
    pub(super) max_tokens: Histogram,
    pub(super) evictions: Histogram,
    /// Prompt tokens of requests that got a first token, cached ones included.
    pub(super) prompt_tokens: u64,
    /// Prompt tokens computed. Counted as it happens, so that the counter never runs backwards.
    pub(super) prefill_tokens: u64,
    pub(super) generation_tokens: u64,
    pub(super) stopped: u64,
    pub(super) cut_to_length: u64,
    pub(super) aborted: u64,
    pub(super) failed: u64,
    pub(super) refused: u64,
    /// Time spent in steps [s]: no metric of vLLM's, but what a GPU's utilization is made of.
    pub(super) busy_s: f64,
}

impl Counters {
    /// A new server's; the edges of lengths depend on its longest request [tokens].
    pub(super) fn new(max_model_len: u32) -> Self {
        let histogram = Histogram::new;
        let length = || histogram(Scale::Length(max_model_len));
        Self {
            ttft: histogram(Scale::Ttft),
            itl: histogram(Scale::Token),
            tpot: histogram(Scale::Token),
            e2e: histogram(Scale::Request),
            queue: histogram(Scale::Request),
            prefill: histogram(Scale::Request),
            decode: histogram(Scale::Request),
            inference: histogram(Scale::Request),
            step_tokens: histogram(Scale::Step),
            input: length(),
            computed: length(),
            output: length(),
            n: histogram(Scale::N),
            max_tokens: length(),
            evictions: histogram(Scale::Preemptions),
            prompt_tokens: 0,
            prefill_tokens: 0,
            generation_tokens: 0,
            stopped: 0,
            cut_to_length: 0,
            aborted: 0,
            failed: 0,
            refused: 0,
            busy_s: 0.0,
        }
    }

    /// A step of the engine.
    pub(super) fn step(&mut self, step: &Step) {
        self.step_tokens.observe(f64::from(step.tokens));
        self.prefill_tokens += u64::from(step.prefill_tokens);
        self.busy_s += step.duration_s;
    }

    /// A request's first token.
    pub(super) fn first_token(&mut self, input_tokens: u32, ttft_s: f64) {
        self.generation_tokens += 1;
        self.prompt_tokens += u64::from(input_tokens);
        self.ttft.observe(ttft_s);
    }

    /// A later token, `gap_s` after the one before.
    pub(super) fn next_token(&mut self, gap_s: f64) {
        self.generation_tokens += 1;
        self.itl.observe(gap_s);
    }

    /// A request that is over.
    pub(super) fn completed(&mut self, done: &Completion, reason: Reason) {
        match reason {
            Reason::Stop => self.stopped += 1,
            Reason::Length => self.cut_to_length += 1,
        }
        self.e2e.observe(done.finished_s - done.arrival_s);
        self.queue.observe(done.scheduled_s - done.arrival_s);
        self.prefill.observe(done.first_token_s - done.scheduled_s);
        self.decode.observe(done.finished_s - done.first_token_s);
        self.inference.observe(done.finished_s - done.scheduled_s);
        self.input.observe(f64::from(done.input_tokens));
        self.computed.observe(f64::from(done.input_tokens.saturating_sub(done.cached_tokens)));
        self.output.observe(f64::from(done.output_tokens));
        self.n.observe(1.0);
        self.evictions.observe(f64::from(done.preemptions));
        if done.output_tokens > 1 {
            let gaps = f64::from(done.output_tokens - 1);
            self.tpot.observe((done.finished_s - done.first_token_s) / gaps);
        }
    }
}
