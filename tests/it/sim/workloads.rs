//! Loads look like what they are named after.

use std::collections::HashSet;

use perf_agent::domain::{TokenLengths, WorkloadProfile};
use perf_agent::sim::Request;
use perf_agent::sim::workload::{Arrivals, Kind, Workload, generate, generate_between};

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let values: Vec<f64> = values.collect();
    values.iter().sum::<f64>() / values.len() as f64
}

/// Share of prompt tokens that a cache which never forgets would find.
fn ideal_hit_ratio(trace: &[Request]) -> f64 {
    let mut seen = HashSet::new();
    let (mut hits, mut tokens) = (0, 0);
    for request in trace {
        let prompt = &request.prefix_hashes
            [..request.prefix_hashes.len().min(request.input_tokens as usize / 16)];
        hits += 16 * prompt.iter().take_while(|hash| seen.contains(*hash)).count();
        tokens += request.input_tokens as usize;
        seen.extend(request.prefix_hashes.iter().copied());
    }
    hits as f64 / tokens as f64
}

#[test]
fn one_seed_gives_one_stream_and_another_seed_another() {
    for kind in Kind::ALL {
        let workload = Workload::of(kind);
        let trace = generate(&workload, 3.0, 7, 500);
        assert_eq!(trace, Arrivals::new(workload.clone(), 3.0, 7).take(500).collect::<Vec<_>>());
        assert_ne!(trace, generate(&workload, 3.0, 8, 500));
        assert!(trace.is_sorted_by(|a, b| a.arrival_s <= b.arrival_s && a.id < b.id));
        assert!(trace[0].arrival_s >= 0.0);
        assert!(trace.iter().all(|r| r.input_tokens > 0 && r.output_tokens > 0));
    }
}

#[test]
fn the_rate_holds_from_the_first_second() {
    for kind in [Kind::Chat, Kind::LongContext, Kind::Agents, Kind::Reasoning] {
        for rate_rps in [2.0, 20.0] {
            let trace = generate(&Workload::of(kind), rate_rps, 3, 8000);
            for part in [&trace[..2000], &trace[6000..]] {
                let span_s = part[part.len() - 1].arrival_s - part[0].arrival_s;
                let measured = part.len() as f64 / span_s;
                assert!((measured / rate_rps - 1.0).abs() < 0.15, "{kind:?} {rate_rps} {measured}");
            }
        }
    }
}

#[test]
fn lengths_are_those_of_the_traces() {
    for (kind, input, output) in [
        (Kind::Chat, 1155.0, 211.0),
        (Kind::Code, 2048.0, 28.0),
        (Kind::LongContext, 12_035.0, 343.0),
        (Kind::Reasoning, 1000.0, 1400.0),
    ] {
        let trace = generate(&Workload::of(kind), 5.0, 1, 20_000);
        let measured = mean(trace.iter().map(|r| f64::from(r.input_tokens)));
        assert!((measured / input - 1.0).abs() < 0.06, "{kind:?} {measured}");
        let measured = mean(trace.iter().map(|r| f64::from(r.output_tokens)));
        assert!((measured / output - 1.0).abs() < 0.06, "{kind:?} {measured}");
    }
}

#[test]
fn code_comes_in_bursts_and_chat_does_not() {
    let variation = |kind| {
        let trace = generate(&Workload::of(kind), 5.0, 1, 20_000);
        let gaps: Vec<f64> = trace.windows(2).map(|w| w[1].arrival_s - w[0].arrival_s).collect();
        let average = mean(gaps.iter().copied());
        mean(gaps.iter().map(|gap| (gap - average).powi(2))).sqrt() / average
    };
    assert!((variation(Kind::Chat) - 1.0).abs() < 0.1);
    assert!(variation(Kind::Code) > 3.0);
}

#[test]
fn prompts_repeat_as_much_as_in_the_traces() {
    let ratio = |kind| ideal_hit_ratio(&generate(&Workload::of(kind), 5.0, 1, 10_000));
    let long = ratio(Kind::LongContext);
    assert!((long - 0.37).abs() < 0.05, "long context {long}");
    let (chat, agents) = (ratio(Kind::Chat), ratio(Kind::Agents));
    assert!((0.1..0.5).contains(&chat), "chat {chat}");
    assert!((0.5..0.9).contains(&agents), "agents {agents}");
    assert_eq!(ratio(Kind::Code), 0.0);
}

#[test]
fn a_later_turn_begins_with_the_turn_before_and_its_answer() {
    let trace = generate(&Workload::of(Kind::Agents), 2.0, 1, 2000);
    let mut continued = 0;
    for (at, later) in trace.iter().enumerate() {
        let earlier = trace[..at].iter().rev().find(|r| r.session == later.session);
        let Some(earlier) = earlier else { continue };
        assert!(later.input_tokens >= earlier.input_tokens);
        assert!(later.arrival_s > earlier.arrival_s);
        let shared =
            later.prefix_hashes.iter().zip(&earlier.prefix_hashes).take_while(|(a, b)| a == b);
        let whole = earlier.input_tokens + earlier.output_tokens + 48 <= later.input_tokens;
        if whole {
            continued += 1;
            let said = ((earlier.input_tokens + earlier.output_tokens) / 16) as usize;
            assert_eq!(shared.count(), said);
        }
    }
    assert!(continued > 500);
}

#[test]
fn an_observed_profile_is_reproduced() {
    let profile = WorkloadProfile {
        request_rate_rps: 4.0,
        arrival_cv: 2.0,
        input_tokens: TokenLengths { mean: 900.0, p50: 640.0, p95: 2500.0 },
        output_tokens: TokenLengths { mean: 210.0, p50: 160.0, p95: 560.0 },
        shared_prefix_ratio: 0.4,
    };
    let trace = generate(&Workload::from_profile(&profile), 4.0, 5, 20_000);
    for (wanted, lengths) in [
        (profile.input_tokens, trace.iter().map(|r| f64::from(r.input_tokens)).collect::<Vec<_>>()),
        (profile.output_tokens, trace.iter().map(|r| f64::from(r.output_tokens)).collect()),
    ] {
        let mut sorted = lengths;
        sorted.sort_by(f64::total_cmp);
        let at = |q: f64| sorted[(q * (sorted.len() - 1) as f64) as usize];
        assert!((mean(sorted.iter().copied()) / wanted.mean - 1.0).abs() < 0.05);
        assert!((at(0.5) / wanted.p50 - 1.0).abs() < 0.1, "{}", at(0.5));
        assert!((at(0.95) / wanted.p95 - 1.0).abs() < 0.15, "{}", at(0.95));
    }
    let shared = ideal_hit_ratio(&trace);
    assert!((shared - 0.4).abs() < 0.02, "{shared}");
}

#[test]
fn a_window_of_the_stream_is_the_stream_in_that_window() {
    let workload = Workload::of(Kind::Chat);
    let all = generate_between(&workload, 5.0, 1, (0.0, 100.0));
    let window = generate_between(&workload, 5.0, 1, (40.0, 60.0));
    let expected: Vec<_> =
        all.into_iter().filter(|r| (40.0..60.0).contains(&r.arrival_s)).collect();
    assert!(window.len() > 50);
    assert_eq!(window, expected);
}
