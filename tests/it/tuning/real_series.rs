//! Consecutive scrapes of a real vLLM during a known cause, read through its dialect: the labels are the truth.

use std::path::{Path, PathBuf};

use perf_agent::base::Millis;
use perf_agent::domain::*;
use perf_agent::serving::{ObserveContext, Page, dialect};
use perf_agent::tuning::{diagnose, propose_by_rules};
use serde_json::Value;

use super::fixtures::*;
use crate::material::shared;

fn series() -> Option<PathBuf> {
    shared("data/metrics/series")
}

/// A recorded case: its deployment as a person would declare it, and two adjacent windows of its pages.
struct Case {
    deployment: Deployment,
    earlier: Observation,
    now: Observation,
}

fn read(series: &Path, case: &str) -> Case {
    let text = |file: &str| std::fs::read_to_string(series.join(case).join(file)).unwrap();
    let meta: Value = serde_json::from_str(&text("meta.json")).unwrap();
    let flags: Vec<&str> = meta["server_flags"].as_str().unwrap().split(' ').collect();
    let flag = |name: &str| {
        let at = flags.iter().position(|flag| *flag == name)?;
        flags.get(at + 1)?.parse::<i64>().ok()
    };
    let mut knobs = vec![
        (Knob::CpuOmpThreadsBind, KnobValue::Text("0-1".into())),
        (Knob::EnforceEager, KnobValue::Bool(true)),
    ];
    let numbers = [
        ("--max-num-seqs", Knob::MaxNumSeqs),
        ("--num-gpu-blocks-override", Knob::NumGpuBlocksOverride),
        ("--block-size", Knob::BlockSize),
        ("--max-model-len", Knob::MaxModelLen),
    ];
    knobs.extend(numbers.iter().filter_map(|(name, knob)| Some((*knob, int(flag(name)?)))));
    let deployment = unknown_deployment(&knobs);
    let pages: Vec<Page> = meta["saved"]
        .as_array()
        .unwrap()
        .iter()
        .map(|saved| Page {
            at: Millis((saved["unix"].as_f64().unwrap() * 1e3) as u64),
            backend: "cpu".into(),
            text: text(saved["file"].as_str().unwrap()).into(),
        })
        .collect();
    let window = |pages: &[Page]| {
        let cx = ObserveContext { deployment: "chat".into(), config: deployment.config.clone() };
        dialect(EngineKind::Vllm).observe(pages, &cx).unwrap()
    };
    let middle = pages.len() / 2;
    let (earlier, now) = (window(&pages[..=middle]), window(&pages[middle..]));
    Case { deployment, earlier, now }
}

fn diagnosed(case: &Case) -> Diagnosis {
    diagnose(&case.now, Some(&case.earlier), &chat_slo(), &case.deployment)
}

#[test]
fn every_labelled_series_gets_its_label() {
    let Some(series) = series() else { return };
    for (name, expected) in [
        ("healthy", Cause::None),
        ("prefix_friendly", Cause::None),
        ("seat_limited", Cause::Seats),
        ("kv_exhaustion", Cause::KvCapacity),
    ] {
        let diagnosis = diagnosed(&read(&series, name));
        println!("{name}: {} — {}", diagnosis.bottleneck, diagnosis.explanation);
        assert_eq!(diagnosis.bottleneck, expected, "{name}: {diagnosis:#?}");
    }
}

#[test]
fn stalls_behind_long_prompts_are_not_taken_for_seats_or_memory() {
    let Some(series) = series() else { return };
    let diagnosis = diagnosed(&read(&series, "long_prefill"));
    println!("long_prefill: {} — {}", diagnosis.bottleneck, diagnosis.explanation);
    assert!(matches!(diagnosis.bottleneck, Cause::None | Cause::Unknown), "{diagnosis:#?}");
}

#[test]
fn real_seats_are_raised_and_a_hand_made_cap_on_blocks_is_lifted() {
    let Some(series) = series() else { return };
    for (name, first) in [("seat_limited", "seats-8"), ("kv_exhaustion", "kv-blocks-default")] {
        let case = read(&series, name);
        let proposals = propose_by_rules(&diagnosed(&case), &case.deployment, &case.now);
        assert_eq!(proposals[0].name, first, "{name}: {proposals:#?}");
    }
}
