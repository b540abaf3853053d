//! Recorded scrape series of a real vLLM with a known cause each: the observation must show that cause.

use perf_agent::domain::{EngineKind, Observation};
use serde_json::Value;

use super::material::{observe, page, recordings};

struct Case {
    seen: Observation,
    meta: Value,
}

impl Case {
    /// What the client measured among the requests that finished while the pages were scraped.
    fn client(&self, figure: &str) -> f64 {
        self.meta["client_finished_in_window"][figure].as_f64().unwrap()
    }
}

fn case(name: &str) -> Option<Case> {
    let folder = recordings()?.join("series").join(name);
    let read = |file: &str| std::fs::read_to_string(folder.join(file)).unwrap();
    let meta: Value = serde_json::from_str(&read("meta.json")).unwrap();
    let saved = meta["saved"].as_array().unwrap();
    let pages: Vec<_> = saved
        .iter()
        .map(|s| page("cpu", s["unix"].as_f64().unwrap(), &read(s["file"].as_str().unwrap())))
        .collect();
    let seen = observe(EngineKind::Vllm, &pages).unwrap();
    eprintln!("{name}: {}", summary(&seen));
    Some(Case { seen, meta })
}

fn summary(seen: &Observation) -> String {
    let p95 =
        |latency: &Option<perf_agent::domain::Latency>| latency.as_ref().map(|l| l.p95_ms.round());
    format!(
        "{:.0} s, running {:.1}, waiting {:.1} ({:+.2}/s), KV p95 {:.3}, preemptions {:?}/s, hits {:?}, TTFT p95 {:?}, \
         ITL p95 {:?}, TPOT p95 {:?}, E2E p95 {:?}, queue p95 {:?}, {:?} req/s, prompt {:?} tok/s, generated {:?} tok/s",
        seen.window_s,
        seen.running.unwrap().mean,
        seen.waiting.unwrap().mean,
        seen.waiting.unwrap().slope_per_s,
        seen.kv_cache_utilization.unwrap().p95,
        seen.preemptions_per_s,
        seen.prefix_hit_ratio,
        p95(&seen.ttft),
        p95(&seen.itl),
        p95(&seen.tpot),
        p95(&seen.e2e),
        p95(&seen.queue_time),
        seen.finished_rps,
        seen.prompt_tok_s,
        seen.generation_tok_s,
    )
}

/// A percentile read from buckets lies within its bucket: between the edges around the exact value.
fn agrees(latency: &Option<perf_agent::domain::Latency>, exact_ms: f64) {
    let latency = latency.as_ref().unwrap();
    let edges: Vec<f64> = latency.edges.iter().map(|edge| edge.le_ms).collect();
    let above = edges.iter().position(|edge| *edge >= exact_ms).unwrap();
    // One bucket of slack: a handful of requests, and the client's clock includes the network.
    let low = if above >= 2 { edges[above - 2] } else { 0.0 };
    let high = edges.get(above + 1).copied().unwrap_or(f64::INFINITY);
    assert!((low..=high).contains(&latency.p95_ms), "{} vs exact {exact_ms}", latency.p95_ms);
}

#[test]
fn healthy_load_agrees_with_what_the_client_measured() {
    let Some(case) = case("healthy") else { return };
    let seen = &case.seen;
    assert_eq!(
        seen.e2e.as_ref().unwrap().count as f64,
        seen.finished_rps.unwrap().mul_add(seen.window_s, 0.0).round()
    );
    agrees(&seen.ttft, case.client("ttft_p95_ms"));
    agrees(&seen.tpot, case.client("tpot_p95_ms"));
    agrees(&seen.e2e, case.client("e2e_p95_ms"));
    assert_eq!((seen.waiting.unwrap().max, seen.preemptions_per_s), (0.0, Some(0.0)));
    assert_eq!(seen.error_rate, Some(0.0));
}

#[test]
fn kv_exhaustion_shows_a_full_cache_a_growing_queue_and_preemptions() {
    let Some(case) = case("kv_exhaustion") else { return };
    let seen = &case.seen;
    assert!(seen.kv_cache_utilization.unwrap().p95 > 0.95);
    assert!(seen.waiting.unwrap().slope_per_s > 0.0 && seen.preemptions_per_s.unwrap() > 0.0);
    assert_eq!(seen.kv_cache_tokens, Some(2048.0));
    agrees(&seen.tpot, case.client("tpot_p95_ms"));
}

#[test]
fn too_few_seats_show_a_queue_beside_an_empty_cache() {
    let Some(case) = case("seat_limited") else { return };
    let seen = &case.seen;
    assert!(seen.running.unwrap().max <= 2.0 && seen.waiting.unwrap().mean > 3.0);
    assert!(seen.kv_cache_utilization.unwrap().max < 0.1);
    assert!(seen.queue_time.as_ref().unwrap().p95_ms > 1000.0);
}

#[test]
fn long_prompts_show_in_token_gaps_and_not_in_tpot() {
    let Some(case) = case("long_prefill") else { return };
    let seen = &case.seen;
    let itl = seen.itl.as_ref().unwrap();
    assert!(seen.tpot.as_ref().unwrap().p95_ms <= 100.0 && itl.p99_ms > 200.0, "{itl:?}");
    assert!(seen.prompt_tok_s.unwrap() > 200.0);
}

#[test]
fn shared_prefixes_show_as_hits() {
    let Some(case) = case("prefix_friendly") else { return };
    assert!(case.seen.prefix_hit_ratio.unwrap() > 0.9);
}
