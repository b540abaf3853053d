//! Consecutive scrapes of a real vLLM during a known cause: the labels are the truth.

use std::path::PathBuf;

use perf_agent::domain::*;
use perf_agent::tuning::diagnose;
use serde_json::Value;

use super::fixtures::*;

fn shared() -> Option<PathBuf> {
    let root = std::env::var("PERF_AGENT_SHARED").unwrap_or_else(|_| "../shared".into());
    let series = PathBuf::from(root).join("data/metrics/series");
    if !series.is_dir() {
        println!("skipped: no real scrape series at {}", series.display());
    }
    series.is_dir().then_some(series)
}

/// The window of a case from the digest of its scrapes: engine metrics only.
fn window(meta: &Value, range: std::ops::Range<usize>) -> Observation {
    let rows: Vec<&Value> = meta["digest_saved"].as_array().unwrap()[range].iter().collect();
    let (first, last) = (rows[0], rows[rows.len() - 1]);
    let seconds = last["t"].as_f64().unwrap() - first["t"].as_f64().unwrap();
    let series = |name: &str| {
        let samples: Vec<f64> = rows.iter().map(|row| row[name].as_f64().unwrap()).collect();
        Some(gauge(&samples, seconds))
    };
    let delta = |name: &str| last[name].as_f64().unwrap() - first[name].as_f64().unwrap();
    let finished = delta("e2e_n");
    let mean = |sum: &str, count: &str| {
        let ms = 1e3 * delta(sum) / delta(count);
        Some(Latency { count: delta(count) as u64, ..latency(ms, ms) })
    };
    Observation {
        window_s: seconds,
        running: series("running"),
        waiting: series("waiting"),
        kv_cache_utilization: series("kv"),
        preemptions_per_s: Some(delta("preempt") / seconds),
        preemptions_per_request: Some(delta("preempt") / finished),
        prefix_hit_ratio: (delta("pq") > 0.0).then(|| delta("ph") / delta("pq")),
        ttft: mean("ttft_s", "ttft_n"),
        itl: mean("itl_s", "itl_n"),
        queue_time: mean("q_s", "q_n"),
        finished_rps: Some(finished / seconds),
        prompt_tok_s: Some((delta("ptok") - delta("ph")) / seconds),
        generation_tok_s: Some(delta("gtok") / seconds),
        ..blank()
    }
}

#[test]
fn every_labelled_series_gets_its_label() {
    let Some(series) = shared() else { return };
    let cases = [
        ("healthy", Cause::None),
        ("prefix_friendly", Cause::None),
        ("seat_limited", Cause::Seats),
        ("kv_exhaustion", Cause::KvCapacity),
    ];
    for (case, expected) in cases {
        let text = std::fs::read_to_string(series.join(case).join("meta.json")).unwrap();
        let meta: Value = serde_json::from_str(&text).unwrap();
        let flags: Vec<&str> = meta["server_flags"].as_str().unwrap().split(' ').collect();
        let flag = |name: &str| {
            flags.iter().position(|flag| *flag == name).map(|at| flags[at + 1].parse().unwrap())
        };
        let mut knobs = vec![(Knob::CpuOmpThreadsBind, KnobValue::Text("0-1".into()))];
        knobs.extend(flag("--max-num-seqs").map(|n| (Knob::MaxNumSeqs, int(n))));
        let deployment = unknown_deployment(&knobs);
        let count = meta["digest_saved"].as_array().unwrap().len();
        let (earlier, now) = (window(&meta, 0..count / 2), window(&meta, count / 2 - 1..count));
        let diagnosis = diagnose(&now, Some(&earlier), &chat_slo(), &deployment);
        println!("{case}: {} — {}", diagnosis.bottleneck, diagnosis.explanation);
        assert_eq!(diagnosis.bottleneck, expected, "{case}: {diagnosis:#?}");
    }
}
