//! What holds for every trace and config.

use perf_agent::domain::{Knob, KnobValue, ServingConfig};
use perf_agent::sim::{Replica, ReplicaSpec, Request};
use proptest::prelude::*;

use super::support::{Journal, request, serve, spec};

/// A replica whose memory is small enough to fight over.
fn cramped() -> impl Strategy<Value = ReplicaSpec> {
    let sizes = (1_u32..40, 64_u32..600, 90_u32..400, prop::sample::select(vec![16_u32, 32]));
    let switches = (any::<bool>(), 0_u32..3, prop::sample::select(vec![0_u32, 48, 200]));
    (sizes, switches).prop_map(|((seats, budget, blocks, block), (prefix, drafts, threshold))| {
        let config = ServingConfig::default()
            .with(Knob::MaxNumSeqs, KnobValue::Int(i64::from(seats)))
            .with(Knob::MaxNumBatchedTokens, KnobValue::Int(i64::from(budget.max(seats))))
            .with(Knob::MaxModelLen, KnobValue::Int(1024))
            .with(Knob::BlockSize, KnobValue::Int(i64::from(block)))
            .with(Knob::NumGpuBlocksOverride, KnobValue::Int(i64::from(blocks)))
            .with(Knob::LongPrefillTokenThreshold, KnobValue::Int(i64::from(threshold)))
            .with(Knob::SpeculativeTokens, KnobValue::Int(i64::from(drafts)))
            .with(Knob::EnablePrefixCaching, KnobValue::Bool(prefix));
        spec(&config)
    })
}

/// Requests close together, some with prefixes of a few families, some too long.
fn trace() -> impl Strategy<Value = Vec<Request>> {
    let one = (0.0_f64..0.2, 1_u32..700, 1_u32..200, 0_u64..4, 0_usize..60);
    prop::collection::vec(one, 1..80).prop_map(|rows| {
        let mut at_s = 0.0;
        let numbered = rows.into_iter().zip(1_u64..);
        let request =
            |((gap_s, input, output, family, pieces), id): ((f64, u32, u32, u64, usize), u64)| {
                at_s += if id.is_multiple_of(5) { gap_s } else { 0.0 };
                let hash = |piece: usize| family * 1000 + piece as u64 + 1;
                let known = pieces.min((input + output) as usize / 16);
                Request {
                    id,
                    arrival_s: at_s,
                    input_tokens: input,
                    output_tokens: output,
                    prefix_hashes: if family == 0 {
                        vec![]
                    } else {
                        (0..known).map(hash).collect()
                    },
                    session: family,
                }
            };
        numbered.map(request).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_request_finishes_or_is_refused_and_memory_comes_back(spec in cramped(), trace in trace()) {
        let (replica, journal) = serve(&spec, &trace, Journal::default());
        prop_assert_eq!(journal.completions.len() + journal.refused.len(), trace.len());
        prop_assert_eq!((replica.running(), replica.waiting(), replica.kv_used_blocks()), (0, 0, 0));
        for completion in &journal.completions {
            let sent = &trace[completion.id as usize - 1];
            prop_assert_eq!(completion.output_tokens, sent.output_tokens);
            prop_assert!(completion.arrival_s <= completion.scheduled_s);
            prop_assert!(completion.scheduled_s < completion.first_token_s);
            prop_assert!(completion.first_token_s <= completion.finished_s);
        }
    }

    #[test]
    fn strides_give_the_history_of_single_steps(spec in cramped(), trace in trace()) {
        let (stepped, one_by_one) = serve(&spec, &trace, Journal::detailed());
        let (strode, in_strides) = serve(&spec, &trace, Journal::default());
        prop_assert_eq!(&one_by_one.completions, &in_strides.completions);
        prop_assert_eq!(one_by_one.refused, in_strides.refused);
        prop_assert_eq!(stepped.totals(), strode.totals());
    }

    #[test]
    fn many_short_advances_give_the_history_of_one_long_one(
        spec in cramped(), trace in trace(), tick_s in 0.001_f64..0.7,
    ) {
        let (_, whole) = serve(&spec, &trace, Journal::default());
        let mut replica = Replica::new(spec).unwrap();
        let (mut journal, mut now_s, mut next) = (Journal::default(), 0.0, 0);
        while journal.completions.len() + journal.refused.len() < trace.len() {
            while trace.get(next).is_some_and(|request| request.arrival_s <= now_s + tick_s) {
                replica.submit(trace[next].clone());
                next += 1;
            }
            now_s += tick_s;
            replica.advance_to(now_s, &mut journal);
        }
        prop_assert_eq!(whole.completions, journal.completions);
    }

    #[test]
    fn memory_is_never_overdrawn_and_steps_stay_in_their_budget(spec in cramped(), trace in trace()) {
        let mut replica = Replica::new(spec.clone()).unwrap();
        for request in &trace {
            replica.submit(request.clone());
        }
        let mut journal = Journal::detailed();
        let mut now_s = 0.0;
        while let Some(next_s) = replica.next_event_s() {
            now_s = f64::max(now_s + 1e-9, next_s);
            replica.advance_to(now_s, &mut journal);
            prop_assert!(replica.kv_used_blocks() < replica.kv_total_blocks());
            prop_assert!(replica.running() <= spec.config.max_num_seqs);
        }
        for step in &journal.steps {
            prop_assert!(step.tokens <= spec.config.max_num_batched_tokens);
            prop_assert!(step.prefill_tokens <= step.tokens && step.batch > 0);
        }
        let tokens: u64 = journal.completions.iter().map(|c| u64::from(c.output_tokens)).sum();
        prop_assert_eq!(journal.tokens.len() as u64, tokens);
    }

    #[test]
    fn each_clients_gaps_add_up_and_the_largest_is_reported(spec in cramped(), trace in trace()) {
        let (_, journal) = serve(&spec, &trace, Journal::detailed());
        for completion in &journal.completions {
            let own = journal.tokens.iter().filter(|(id, ..)| *id == completion.id);
            let gaps: Vec<f64> = own.filter_map(|(_, _, gap_s)| *gap_s).collect();
            let sum: f64 = gaps.iter().sum();
            prop_assert!((sum - (completion.finished_s - completion.first_token_s)).abs() < 1e-6);
            let longest = gaps.iter().copied().fold(0.0, f64::max);
            prop_assert!((longest - completion.itl_max_s).abs() < 1e-9);
        }
    }

    #[test]
    fn aborted_requests_leave_no_trace(spec in cramped(), trace in trace(), at_s in 0.0_f64..3.0) {
        let mut replica = Replica::new(spec).unwrap();
        let mut journal = Journal::default();
        for request in &trace {
            replica.submit(request.clone());
        }
        replica.advance_to(at_s, &mut journal);
        for request in trace.iter().filter(|request| !request.id.is_multiple_of(3)) {
            replica.abort(request.id);
        }
        let before = journal.completions.len();
        replica.advance_to(1e6, &mut journal);
        let survivors = journal.completions[before..].iter().all(|c| c.id.is_multiple_of(3));
        prop_assert!(survivors);
        prop_assert_eq!((replica.running(), replica.waiting(), replica.kv_used_blocks()), (0, 0, 0));
    }

    #[test]
    fn more_bandwidth_is_never_slower_for_requests_that_come_together(
        lengths in prop::collection::vec((1_u32..2000, 1_u32..300), 1..40), factor in 1.0_f64..3.0,
    ) {
        let trace: Vec<Request> = lengths
            .iter()
            .zip(1_u64..)
            .map(|((input, output), id)| super::support::request(id, 0.0, *input, *output))
            .collect();
        let slow = spec(&ServingConfig::default());
        let mut fast = slow.clone();
        fast.gpu.memory_bytes_per_s *= factor;
        let end = |spec: &ReplicaSpec| {
            let (_, journal) = serve(spec, &trace, Journal::default());
            journal.completions.iter().map(|c| c.finished_s).fold(0.0, f64::max)
        };
        prop_assert!(end(&fast) <= end(&slow) + 1e-9);
    }
}

/// Whole picoseconds round down here: as a double the moment is smaller than the arrival that was given.
#[test]
fn nobody_is_scheduled_before_the_arrival_that_was_given() {
    let arrival_s = 0.164_549_258_525_188_65;
    let trace = [request(1, arrival_s, 1, 1)];
    let (_, journal) = serve(&spec(&ServingConfig::default()), &trace, Journal::default());
    let completion = journal.completion(1);
    assert_eq!(completion.arrival_s, arrival_s);
    assert!(completion.scheduled_s >= arrival_s, "{}", completion.scheduled_s);
}
