//! Against a plain scheduler: every request touched in every step, nothing clever. It plans each step by itself and must
//! come to what the simulator reports, batch by batch.

use std::collections::VecDeque;

use perf_agent::domain::{Knob, KnobValue, ServingConfig};
use perf_agent::sim::{ReplicaSpec, Request};
use proptest::prelude::*;

use super::support::{Journal, request, serve, spec};

#[derive(Debug, Clone)]
struct Plain {
    id: u64,
    input: u32,
    output: u32,
    computed: u32,
    generated: u32,
    blocks: u32,
}

/// vLLM's `schedule` without a prefix cache, as its source reads.
struct Scheduler {
    running: Vec<Plain>,
    waiting: VecDeque<Plain>,
    free: u32,
    seats: usize,
    budget: u32,
    threshold: u32,
    block_size: u32,
}

impl Scheduler {
    fn new(spec: &ReplicaSpec) -> Self {
        let config = &spec.config;
        Self {
            running: Vec::new(),
            waiting: VecDeque::new(),
            free: spec.kv_blocks().unwrap() as u32 - 1,
            seats: config.max_num_seqs as usize,
            budget: config.max_num_batched_tokens,
            threshold: config.long_prefill_token_threshold,
            block_size: config.block_size,
        }
    }

    fn wanted(&self, plain: &Plain, budget: u32) -> u32 {
        let pending = plain.input + plain.generated - plain.computed;
        let limited = if self.threshold > 0 { pending.min(self.threshold) } else { pending };
        limited.min(budget)
    }

    /// Scheduled tokens by id, and how many were evicted.
    fn schedule(&mut self) -> (Vec<(u64, u32)>, u32) {
        let (mut plan, mut budget, mut evicted, mut at) = (Vec::new(), self.budget, 0, 0);
        'running: while at < self.running.len() && budget > 0 {
            let wanted = self.wanted(&self.running[at], budget);
            let needed = (self.running[at].computed + wanted).div_ceil(self.block_size);
            while self.free < needed.saturating_sub(self.running[at].blocks) {
                let mut victim = self.running.pop().unwrap();
                self.free += victim.blocks;
                (victim.blocks, victim.computed) = (0, 0);
                self.waiting.push_front(victim);
                evicted += 1;
                if self.running.len() == at {
                    break 'running;
                }
            }
            self.free -= needed.saturating_sub(self.running[at].blocks);
            self.running[at].blocks = self.running[at].blocks.max(needed);
            plan.push((self.running[at].id, wanted));
            budget -= wanted;
            at += 1;
        }
        while evicted == 0 && budget > 0 && self.running.len() < self.seats {
            let Some(head) = self.waiting.front() else { break };
            let whole = (head.input + head.generated).div_ceil(self.block_size);
            if whole > self.free {
                break;
            }
            let mut head = self.waiting.pop_front().unwrap();
            let wanted = self.wanted(&head, budget);
            head.blocks = wanted.div_ceil(self.block_size);
            self.free -= head.blocks;
            plan.push((head.id, wanted));
            budget -= wanted;
            self.running.push(head);
        }
        (plan, evicted)
    }

    /// Feeds a step's results back; returns who finished.
    fn update(&mut self, plan: &[(u64, u32)]) -> Vec<u64> {
        for (id, tokens) in plan {
            let plain = self.running.iter_mut().find(|plain| plain.id == *id).unwrap();
            plain.computed += tokens;
            plain.generated += u32::from(plain.computed == plain.input + plain.generated);
        }
        let done = |plain: &Plain| plain.generated == plain.output;
        let finished: Vec<Plain> = self.running.iter().filter(|p| done(p)).cloned().collect();
        self.free += finished.iter().map(|plain| plain.blocks).sum::<u32>();
        self.running.retain(|plain| !done(plain));
        finished.iter().map(|plain| plain.id).collect()
    }
}

fn ps(s: f64) -> u64 {
    (s * 1e12).round() as u64
}

/// Plays `trace` on the plain scheduler along the simulator's step ends.
fn replay(spec: &ReplicaSpec, trace: &[Request], journal: &Journal) {
    let mut plain = Scheduler::new(spec);
    let mut next = 0;
    let mut finished = Vec::new();
    for step in &journal.steps {
        let begins = ps(step.ended_s - step.duration_s);
        while trace.get(next).is_some_and(|r| ps(r.arrival_s) <= begins + 1) {
            let request = &trace[next];
            next += 1;
            if !journal.refused.contains(&request.id) {
                plain.waiting.push_back(Plain {
                    id: request.id,
                    input: request.input_tokens,
                    output: request.output_tokens,
                    computed: 0,
                    generated: 0,
                    blocks: 0,
                });
            }
        }
        let (mut plan, mut evicted) = plain.schedule();
        while plan.is_empty() {
            // All evicted: vLLM runs an empty step, which the simulator does not count.
            assert!(evicted > 0);
            (plan, evicted) = plain.schedule();
        }
        let tokens: u32 = plan.iter().map(|(_, tokens)| tokens).sum();
        assert_eq!((step.tokens, step.batch as usize), (tokens, plan.len()), "{step:?} {plan:?}");
        assert_eq!(step.preempted, evicted);
        finished.extend(plain.update(&plan));
    }
    let mut reported: Vec<u64> = journal.completions.iter().map(|c| c.id).collect();
    reported.sort_unstable();
    finished.sort_unstable();
    assert_eq!(reported, finished);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn every_step_is_the_one_a_plain_scheduler_plans(
        (seats, budget, blocks) in (1_i64..40, 40_i64..600, 70_i64..300),
        (threshold, wide) in (prop::sample::select(vec![0_i64, 48, 200]), any::<bool>()),
        rows in prop::collection::vec((0.0_f64..0.1, 1_u32..700, 1_u32..300), 1..60),
    ) {
        let config = ServingConfig::default()
            .with(Knob::MaxNumSeqs, KnobValue::Int(seats))
            .with(Knob::MaxNumBatchedTokens, KnobValue::Int(budget.max(seats)))
            .with(Knob::MaxModelLen, KnobValue::Int(1024))
            .with(Knob::BlockSize, KnobValue::Int(if wide { 32 } else { 16 }))
            .with(Knob::NumGpuBlocksOverride, KnobValue::Int(blocks))
            .with(Knob::LongPrefillTokenThreshold, KnobValue::Int(threshold))
            .with(Knob::EnablePrefixCaching, KnobValue::Bool(false));
        let mut at_s = 0.0;
        let trace: Vec<Request> = rows
            .into_iter()
            .zip(1_u64..)
            .map(|((gap_s, input, output), id)| {
                at_s += if id.is_multiple_of(4) { gap_s } else { 0.0 };
                request(id, at_s, input, output)
            })
            .collect();
        let spec = spec(&config);
        prop_assume!(spec.kv_blocks().is_ok());
        let (_, journal) = serve(&spec, &trace, Journal::detailed());
        replay(&spec, &trace, &journal);
    }
}
