//! vLLM's scheduling rules, one by one.

use perf_agent::domain::{Knob, KnobValue, ServingConfig};
use perf_agent::sim::{Replica, ReplicaSpec, Request};

use super::support::{Journal, request, serve, spec};

fn with(knobs: &[(Knob, i64)]) -> ReplicaSpec {
    let config = knobs.iter().fold(ServingConfig::default(), |config, (knob, value)| {
        let value = match knob {
            Knob::EnablePrefixCaching | Knob::EnableChunkedPrefill | Knob::EnforceEager => {
                KnobValue::Bool(*value != 0)
            }
            _ => KnobValue::Int(*value),
        };
        config.with(*knob, value)
    });
    spec(&config)
}

fn hashed(
    id: u64,
    arrival_s: f64,
    input: u32,
    output: u32,
    pieces: std::ops::Range<u64>,
) -> Request {
    let prefix_hashes = pieces.map(|piece| piece * 7919 + 1).collect();
    Request { prefix_hashes, ..request(id, arrival_s, input, output) }
}

#[test]
fn a_decode_goes_first_and_a_prefill_gets_the_rest_of_the_budget() {
    let spec = with(&[(Knob::MaxNumBatchedTokens, 512), (Knob::MaxNumSeqs, 8)]);
    let trace = [request(1, 0.0, 100, 50), request(2, 0.01, 1500, 5)];
    let (_, journal) = serve(&spec, &trace, Journal::detailed());
    let mixed: Vec<(u32, u32, u32)> = journal
        .steps
        .iter()
        .filter(|step| step.prefill_tokens > 0)
        .map(|step| (step.tokens, step.prefill_tokens, step.batch))
        .collect();
    assert_eq!(mixed, [(100, 100, 1), (512, 511, 2), (512, 511, 2), (479, 478, 2)]);
}

#[test]
fn prompts_share_a_step_while_the_budget_lasts() {
    let spec = with(&[(Knob::MaxNumBatchedTokens, 1000), (Knob::MaxNumSeqs, 8)]);
    let trace = [request(1, 0.0, 400, 2), request(2, 0.0, 400, 2), request(3, 0.0, 400, 2)];
    let (_, journal) = serve(&spec, &trace, Journal::detailed());
    let tokens: Vec<u32> = journal.steps.iter().map(|step| step.prefill_tokens).collect();
    assert_eq!(tokens, [1000, 200, 0]);
}

#[test]
fn long_prompts_are_cut_at_the_threshold() {
    let spec = with(&[(Knob::LongPrefillTokenThreshold, 300)]);
    let (_, journal) = serve(&spec, &[request(1, 0.0, 1000, 1)], Journal::detailed());
    let tokens: Vec<u32> = journal.steps.iter().map(|step| step.prefill_tokens).collect();
    assert_eq!(tokens, [300, 300, 300, 100]);
}

#[test]
fn without_chunks_a_prompt_waits_until_it_fits_whole() {
    let spec = with(&[
        (Knob::EnableChunkedPrefill, 0),
        (Knob::MaxModelLen, 2048),
        (Knob::MaxNumBatchedTokens, 2048),
    ]);
    let trace = [request(1, 0.0, 1500, 2), request(2, 0.0, 1500, 2)];
    let (_, journal) = serve(&spec, &trace, Journal::detailed());
    let tokens: Vec<u32> = journal.steps.iter().map(|step| step.prefill_tokens).collect();
    assert_eq!(tokens, [1500, 1500, 0]);
}

#[test]
fn no_more_run_than_there_are_seats() {
    let spec = with(&[(Knob::MaxNumSeqs, 2)]);
    let mut replica = Replica::new(spec).unwrap();
    for id in 0..5 {
        replica.submit(request(id, 0.0, 50, 1000));
    }
    replica.advance_to(1.0, &mut Journal::default());
    assert_eq!((replica.running(), replica.waiting()), (2, 3));
}

#[test]
fn a_request_that_arrives_in_mid_step_waits_for_its_end() {
    let spec = with(&[]);
    let trace = [request(1, 0.0, 8000, 2), request(2, 0.001, 50, 2)];
    let (_, journal) = serve(&spec, &trace, Journal::detailed());
    assert_eq!(journal.completion(2).scheduled_s, journal.steps[0].ended_s);
}

#[test]
fn a_full_queue_and_a_request_that_is_too_long_are_refused() {
    let spec =
        with(&[(Knob::MaxNumSeqs, 1), (Knob::MaxNumQueuedReqs, 2), (Knob::MaxModelLen, 4096)]);
    let mut trace: Vec<Request> =
        (1..=4).map(|id| request(id, 0.1 * id as f64, 100, 2000)).collect();
    trace.push(request(5, 9.0, 4000, 97));
    let (_, journal) = serve(&spec, &trace, Journal::default());
    assert_eq!(journal.refused, [4, 5]);
}

#[test]
fn a_repeated_prefix_is_computed_once() {
    let spec = with(&[]);
    let trace = [hashed(1, 0.0, 1000, 2, 0..50), hashed(2, 1.0, 1000, 2, 0..50)];
    let (replica, journal) = serve(&spec, &trace, Journal::detailed());
    assert_eq!(journal.completion(2).cached_tokens, 800);
    assert_eq!(replica.totals().prefix_hits_tokens, 800);
    assert_eq!(replica.totals().prefix_queries_tokens, 2000);
    let prefills: Vec<u32> =
        journal.steps.iter().map(|s| s.prefill_tokens).filter(|n| *n > 0).collect();
    assert_eq!(prefills, [1000, 200]);
    let off = with(&[(Knob::EnablePrefixCaching, 0)]);
    let (replica, journal) = serve(&off, &trace, Journal::detailed());
    assert_eq!(journal.completion(2).cached_tokens, 0);
    assert_eq!(replica.totals().prefix_queries_tokens, 0);
}

#[test]
fn the_last_token_of_a_cached_prompt_is_computed_anyway() {
    let trace = [hashed(1, 0.0, 160, 2, 0..10), hashed(2, 1.0, 160, 2, 0..10)];
    let (_, journal) = serve(&with(&[]), &trace, Journal::default());
    assert_eq!(journal.completion(2).cached_tokens, 144);
}

#[test]
fn the_next_turn_finds_the_answer_too() {
    // 10 pieces of prompt, 5 of answer; the next prompt repeats all 15. The answer's last token was never fed back, so
    // its piece is not whole in memory.
    let trace = [hashed(1, 0.0, 160, 80, 0..15), hashed(2, 5.0, 400, 2, 0..15)];
    let (_, journal) = serve(&with(&[]), &trace, Journal::default());
    assert_eq!(journal.completion(2).cached_tokens, 14 * 16);
}

#[test]
fn a_prefix_is_found_while_its_owner_still_runs() {
    let trace = [hashed(1, 0.0, 1000, 500, 0..60), hashed(2, 0.5, 1000, 2, 0..60)];
    let (_, journal) = serve(&with(&[]), &trace, Journal::default());
    assert!(journal.completion(2).scheduled_s < journal.completion(1).finished_s);
    assert_eq!(journal.completion(2).cached_tokens, 960);
}

#[test]
fn larger_blocks_share_only_whole_blocks() {
    let spec = with(&[(Knob::BlockSize, 64)]);
    let trace = [hashed(1, 0.0, 500, 2, 0..11), hashed(2, 1.0, 500, 2, 0..11)];
    let (_, journal) = serve(&spec, &trace, Journal::default());
    assert_eq!(journal.completion(2).cached_tokens, 128);
}

#[test]
fn the_oldest_prefix_is_forgotten_first_and_its_end_before_its_beginning() {
    // 99 usable blocks. A and B take 41 each; C takes 41 and overwrites what is oldest: the rest of the pool, then A's end.
    let spec = with(&[(Knob::NumGpuBlocksOverride, 100), (Knob::MaxModelLen, 1024)]);
    let family = |id: u64, at_s: f64, first: u64| hashed(id, at_s, 650, 2, first..first + 40);
    let trace = [
        family(1, 0.0, 0),
        family(2, 1.0, 100),
        family(3, 2.0, 200),
        family(4, 3.0, 100),
        family(5, 4.0, 0),
    ];
    let (_, journal) = serve(&spec, &trace, Journal::default());
    assert_eq!(journal.completion(4).cached_tokens, 640, "B was newer than A");
    let left = journal.completion(5).cached_tokens;
    assert!(left > 0 && left < 640, "A lost its end, not its beginning: {left}");
}

#[test]
fn when_memory_runs_out_the_newest_is_evicted_and_comes_back() {
    let spec = with(&[
        (Knob::NumGpuBlocksOverride, 65),
        (Knob::MaxModelLen, 1024),
        (Knob::EnablePrefixCaching, 0),
    ]);
    let trace: Vec<Request> = (1..=3).map(|id| request(id, 0.001 * id as f64, 300, 300)).collect();
    let (replica, journal) = serve(&spec, &trace, Journal::detailed());
    assert_eq!(journal.completion(1).preemptions, 0);
    assert!(journal.completion(3).preemptions > 0);
    let counted: u64 = journal.completions.iter().map(|c| u64::from(c.preemptions)).sum();
    assert_eq!(replica.totals().preemptions, counted);
    assert_eq!(counted, journal.steps.iter().map(|step| u64::from(step.preempted)).sum::<u64>());
    let wait = journal.completion(3).itl_max_s;
    assert!(wait > 0.5, "its client saw it stop: {wait}");
}

#[test]
fn an_evicted_request_finds_what_nobody_took_meanwhile() {
    let recomputed = |prefix_caching| {
        let spec = with(&[
            (Knob::NumGpuBlocksOverride, 65),
            (Knob::MaxModelLen, 1024),
            (Knob::EnablePrefixCaching, prefix_caching),
        ]);
        let trace: Vec<Request> =
            (1..=3).map(|id| request(id, 0.001 * id as f64, 300, 300)).collect();
        let (_, journal) = serve(&spec, &trace, Journal::detailed());
        journal.steps.iter().map(|step| u64::from(step.prefill_tokens)).sum::<u64>()
    };
    assert!(recomputed(1) < recomputed(0));
}

#[test]
fn a_prompt_is_admitted_only_when_all_of_it_fits() {
    let spec = with(&[
        (Knob::NumGpuBlocksOverride, 65),
        (Knob::MaxModelLen, 1024),
        (Knob::MaxNumBatchedTokens, 64),
        (Knob::MaxNumSeqs, 8),
    ]);
    let trace = [request(1, 0.0, 600, 200), request(2, 0.001, 600, 2)];
    let (_, journal) = serve(&spec, &trace, Journal::default());
    let (first, second) = (journal.completion(1), journal.completion(2));
    assert!(
        second.scheduled_s >= first.finished_s - 0.03,
        "its first chunk alone would have fitted"
    );
    assert_eq!(first.preemptions + second.preemptions, 0);
}

#[test]
fn a_slowed_device_takes_that_much_longer() {
    let spec = with(&[]);
    let end = |factor: f64| {
        let mut replica = Replica::new(spec.clone()).unwrap();
        replica.set_slowdown(factor);
        replica.submit(request(1, 0.0, 1000, 100));
        let mut journal = Journal::default();
        replica.advance_to(1e3, &mut journal);
        journal.completions[0].finished_s - spec.coefficients.ttft_overhead_s
    };
    assert!((end(2.0) / end(1.0) - 2.0).abs() < 1e-6);
}

#[test]
fn speculation_pays_for_a_few_requests_and_not_for_many() {
    let tpot_ms = |drafts: i64, requests: u64| {
        let spec = with(&[(Knob::SpeculativeTokens, drafts), (Knob::MaxModelLen, 4096)]);
        let trace: Vec<Request> = (0..requests).map(|id| request(id, 0.0, 200, 300)).collect();
        let (_, journal) = serve(&spec, &trace, Journal::default());
        journal.completions.iter().filter_map(|c| c.tpot_ms()).sum::<f64>() / requests as f64
    };
    assert!(tpot_ms(3, 2) < 0.7 * tpot_ms(0, 2));
    assert!(tpot_ms(4, 500) > tpot_ms(0, 500));
}

#[test]
fn graphs_help_and_tensor_parallelism_helps() {
    let tpot_ms = |knobs: &[(Knob, i64)]| {
        let (_, journal) = serve(&with(knobs), &[request(1, 0.0, 500, 200)], Journal::default());
        journal.completions[0].tpot_ms().unwrap()
    };
    assert!(tpot_ms(&[(Knob::EnforceEager, 1)]) > 1.1 * tpot_ms(&[]));
    let (one, two) = (tpot_ms(&[]), tpot_ms(&[(Knob::TensorParallelSize, 2)]));
    assert!(two < one && two > 0.5 * one);
}

#[test]
fn the_gauges_follow_a_request_through() {
    let mut replica = Replica::new(with(&[])).unwrap();
    let mut journal = Journal::default();
    assert_eq!(replica.next_event_s(), None);
    replica.submit(request(1, 1.0, 1600, 100));
    assert_eq!(replica.next_event_s(), Some(1.0));
    replica.advance_to(0.5, &mut journal);
    assert_eq!((replica.running(), replica.waiting()), (0, 0));
    replica.advance_to(1.001, &mut journal);
    assert_eq!((replica.running(), replica.kv_used_blocks()), (1, 100));
    replica.abort(1);
    assert_eq!((replica.running(), replica.kv_used_blocks()), (0, 0));
    replica.advance_to(100.0, &mut journal);
    assert!(journal.completions.is_empty());
}
