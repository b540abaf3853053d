//! Two parts that a person waits for: a whole search with the default budget, and the reading of a page of 1 MB.
//!
//! `cargo bench --bench parts`
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on should stop where it is")]
#![allow(
    missing_docs,
    dead_code,
    reason = "scenarios are shared with the tests, which use all of them"
)]

#[path = "../tests/it/tuning/fixtures.rs"]
mod fixtures;
#[path = "../tests/it/tuning/injected.rs"]
mod injected;

use std::hint::black_box;
use std::time::Instant;

use fixtures::{int, objective};
use injected::{load, search_request};
use perf_agent::domain::{Knob, KnobValue, Metric, WorkloadProfile};
use perf_agent::serving::exposition::Exposition;
use perf_agent::tuning::{SearchBudget, SearchRequest, search};

fn main() {
    parse();
    for (name, knobs, profile) in searches() {
        let request = request(&knobs, profile);
        let started = Instant::now();
        let result = search(&request).unwrap();
        println!("search {name}: {:.2?}, {} proposals", started.elapsed(), result.shortlist.len());
    }
}

/// Reads a real page, repeated to 1 MB, two hundred times.
fn parse() {
    let page = include_str!("../tests/it/serving/pages/vllm_0.32_healthy_1.prom");
    let text = page.repeat(1_000_000 / page.len() + 1);
    let mut ms: Vec<f64> = (0..200)
        .map(|_| {
            let started = Instant::now();
            black_box(Exposition::parse(&text).samples().len());
            started.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    ms.sort_by(f64::total_cmp);
    println!("page of {} bytes: median {:.2} ms, p95 {:.2} ms", text.len(), ms[100], ms[190]);
}

type Case = (&'static str, Vec<(Knob, KnobValue)>, WorkloadProfile);

fn searches() -> [Case; 5] {
    let chat = |rps| load(rps, (700.0, 3000.0), (150.0, 500.0));
    let short_answers = load(15.0, (900.0, 2800.0), (20.0, 60.0));
    let small_budget = vec![(Knob::MaxNumSeqs, int(64)), (Knob::MaxNumBatchedTokens, int(128))];
    [
        ("seats", vec![(Knob::MaxNumSeqs, int(8))], chat(8.0)),
        ("fine", vec![], chat(10.0)),
        ("kv", vec![(Knob::GpuMemoryUtilization, KnobValue::Float(0.3))], chat(10.0)),
        ("budget", small_budget, short_answers),
        ("overload", vec![], chat(60.0)),
    ]
}

fn request(knobs: &[(Knob, KnobValue)], profile: WorkloadProfile) -> SearchRequest {
    let mut objective = objective(&[(Metric::Ttft, 600.0), (Metric::Tpot, 60.0)]);
    objective.improve = Some(Metric::Ttft);
    search_request(knobs, profile, objective, SearchBudget::default())
}
