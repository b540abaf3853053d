//! A world's pages are vLLM's pages: the same names, words, labels and buckets.

use std::collections::{BTreeMap, BTreeSet};

use perf_agent::domain::EngineKind;
use perf_agent::serving::exposition::Exposition;
use perf_agent::serving::{ObserveContext, Page, dialect};

use super::support::{open, pass, spec};
use crate::serving::material::recordings;

/// Per series name: its `# HELP` and `# TYPE`, and the sets of labels it comes with, model and values left out.
fn shape(text: &str) -> BTreeMap<String, (BTreeSet<String>, BTreeSet<String>)> {
    let mut shape: BTreeMap<String, (BTreeSet<String>, BTreeSet<String>)> = BTreeMap::new();
    for line in text.lines() {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        if let ["#", _, name, _] = words[..] {
            shape.entry(name.to_owned()).or_default().0.insert(line.to_owned());
        }
    }
    for sample in Exposition::parse(text).samples() {
        let known = |name: &str| {
            ["le", "reason", "source", "finished_reason", "sleep_state"].contains(&name)
        };
        let label = |(name, value): (&str, _)| {
            let value = if known(name) { format!("{value:?}") } else { String::new() };
            format!("{name}={value}")
        };
        let labels: BTreeSet<String> = sample.labels.iter().map(label).collect();
        let labels = labels.into_iter().collect::<Vec<_>>().join(",");
        shape.entry(sample.name.to_owned()).or_default().1.insert(labels);
    }
    shape.retain(|name, _| name.starts_with("vllm:"));
    shape
}

/// Histograms of lengths have more buckets the longer a request may be: the real page was of a model of 8192 tokens.
fn longer(name: &str) -> bool {
    [
        "request_prompt_tokens",
        "request_generation_tokens",
        "request_max_num",
        "request_params_max",
        "request_prefill_kv",
    ]
    .iter()
    .any(|part| name.contains(part) && name.ends_with("_bucket"))
}

#[tokio::test]
async fn a_page_has_the_names_words_labels_and_buckets_of_a_real_one() {
    let Some(folder) = recordings() else { return };
    let real = std::fs::read_to_string(folder.join("vllm_0.32.0_under_load.prom")).unwrap();
    let world = open(spec(1));
    let (real, ours) = (shape(&real), shape(&world.page("chat-0").unwrap()));
    let names = |shape: &BTreeMap<String, _>| shape.keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(names(&ours), names(&real));
    for (name, (words, labels)) in &real {
        assert_eq!(&ours[name].0, words, "{name}");
        if longer(name) {
            assert!(ours[name].1.is_superset(labels), "{name}");
        } else {
            assert_eq!(&ours[name].1, labels, "{name}");
        }
    }
}

#[tokio::test]
async fn what_a_page_says_is_what_the_clients_saw() {
    let world = open(spec(1));
    let plane = super::support::plane(&world);
    let first = world.page("chat-0").unwrap();
    let (_, number) = plane.records(u64::MAX).await.unwrap();
    let from = world.clock().now();
    pass(&world, 300.0).await;
    let (records, _) = plane.records(number).await.unwrap();
    let page = |at, text: String| Page { at, backend: "chat-0".to_owned(), text: text.into() };
    let pages = [page(from, first), page(world.clock().now(), world.page("chat-0").unwrap())];
    let cx = ObserveContext { deployment: "chat".to_owned(), config: Default::default() };
    let seen = dialect(EngineKind::Vllm).observe(&pages, &cx).unwrap();
    let n = records.len() as f64;
    let mean = |value: fn(&perf_agent::domain::RequestRecord) -> f64| {
        records.iter().map(value).sum::<f64>() / n
    };
    let close = |a: f64, b: f64, what: &str| assert!((a / b - 1.0).abs() < 0.02, "{what}: {a} {b}");
    close(seen.finished_rps.unwrap() * 300.0, n, "requests");
    close(seen.e2e.unwrap().mean_ms, mean(|r| r.e2e_ms.unwrap()), "E2E");
    close(seen.ttft.unwrap().mean_ms, mean(|r| r.ttft_ms.unwrap()), "TTFT");
    close(seen.input_tokens.unwrap().mean, mean(|r| f64::from(r.input_tokens.unwrap())), "input");
    close(seen.output_tokens.unwrap().mean, mean(|r| f64::from(r.output_tokens)), "output");
    assert_eq!(seen.error_rate, Some(0.0));
}
