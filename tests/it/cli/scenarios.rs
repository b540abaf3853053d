//! Whole runs in simulated worlds.

use std::path::Path;

use perf_agent::serving::simulated::{World, WorldSpec};
use serde_json::Value;

use super::support::{example, run, run_json};

const GOAL: &str =
    "Get p95 time to first token under 300 ms at today's load, without losing throughput";

fn number(result: &Value, path: &str) -> f64 {
    result.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("{path}: {result:#}"))
}

/// Of twenty worlds at least eighteen must end improved; no request may fail in any.
#[test]
fn twenty_mistuned_worlds_are_improved() {
    let worlds = |seeds: std::ops::RangeInclusive<u64>| {
        seeds.map(|seed| {
            let folder = tempfile::tempdir().unwrap();
            let args = ["optimize", GOAL, "--yes", "--seed", &seed.to_string()];
            let result = run_json(folder.path(), &args).1;
            let twin_tok_s = unchanged_tok_s(folder.path(), seed, &result);
            (result, twin_tok_s)
        })
    };
    let results: Vec<(Value, f64)> = std::thread::scope(|scope| {
        let first = scope.spawn(|| worlds(1..=10).collect::<Vec<_>>());
        let second = scope.spawn(|| worlds(11..=20).collect::<Vec<_>>());
        [first.join().unwrap(), second.join().unwrap()].concat()
    });
    let improved: Vec<_> = results.iter().filter(|(r, _)| r["status"] == "improved").collect();
    assert!(improved.len() >= 18, "{} of 20", improved.len());
    for (result, _) in &results {
        assert!(result["model"].as_str().unwrap().starts_with("expert"));
        if !result["rollout"].is_null() {
            assert_eq!(number(result, "/rollout/requests_failed"), 0.0);
            assert_eq!(number(result, "/rollout/streams_cut"), 0.0);
        }
    }
    // Before and after are different stretches of traffic: the fair comparison is the same stretch without the change.
    let sum = |of: fn(&(Value, f64)) -> f64| improved.iter().map(|world| of(world)).sum::<f64>();
    let (after_tok_s, twins_tok_s) =
        (sum(|world| number(&world.0, "/after/throughput_tok_s")), sum(|world| world.1));
    println!("tokens/s of all: {twins_tok_s:.0} unchanged, {after_tok_s:.0} after");
    assert!(after_tok_s >= 0.995 * twins_tok_s, "{twins_tok_s} → {after_tok_s}");
    for (result, twin_tok_s) in improved {
        assert!(number(result, "/baseline/ttft_p95_ms") > 300.0);
        assert!(number(result, "/after/ttft_p95_ms") <= 300.0, "{result:#}");
        assert!(number(result, "/after/error_rate") == 0.0);
        // Of one world the answers that straddle the window's ends make up to 2 %.
        let after_tok_s = number(result, "/after/throughput_tok_s");
        assert!(after_tok_s >= 0.97 * twin_tok_s, "{twin_tok_s} → {after_tok_s}: {result:#}");
    }
}

/// Tokens per second of the same world in the same window, had nobody touched it.
fn unchanged_tok_s(folder: &Path, seed: u64, result: &Value) -> f64 {
    let thread = result["thread_id"].as_str().unwrap();
    let journal = folder.join("perf-agent.db.worlds").join(format!("{thread}.jsonl"));
    let text = std::fs::read_to_string(journal).unwrap();
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    let spec = WorldSpec { seed: Some(seed), ..WorldSpec::default() };
    let end = spec.start.plus(last["at_ms"].as_u64().unwrap());
    let window_s = number(result, "/after/window_s");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let world = World::open(spec, None).unwrap();
        world.clock().sleep_until(end).await;
        let seen = world.target().observe.observe(window_s, None).await.unwrap();
        seen.client.unwrap().throughput_tok_s.unwrap()
    })
}

#[test]
fn a_config_that_hides_a_regression_is_taken_back_and_stable_serves_everyone() {
    let folder = tempfile::tempdir().unwrap();
    let config = example("hidden_regression.yaml");
    let (code, result) = run_json(folder.path(), &["optimize", GOAL, "--yes", "--config", &config]);
    assert_eq!((code, result["status"].as_str()), (4, Some("rolled_back")), "{result:#}");
    assert!(result["change"].as_object().unwrap().is_empty());
    assert_eq!(number(&result, "/rollout/requests_failed"), 0.0);
    assert_eq!(number(&result, "/rollout/streams_cut"), 0.0);
    assert!(result["rollout"]["reason"].as_str().unwrap().contains("harm"), "{result:#}");
    let thread = result["thread_id"].as_str().unwrap();
    let world = folder.path().join("perf-agent.db.worlds").join(format!("{thread}.jsonl"));
    let journal = std::fs::read_to_string(world).unwrap();
    let lines = journal.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let tables: Vec<Value> =
        lines.filter_map(|line| line.pointer("/action/apply/table").cloned()).collect();
    assert!(!tables.is_empty());
    let shares: Vec<f64> =
        tables.iter().map(|table| table["canary_percent"].as_f64().unwrap()).collect();
    // Up, then to nobody, never up again: a session moves at most once each way.
    let peak = shares.iter().position(|share| *share == 0.0).unwrap_or(shares.len());
    assert!(shares[..peak].windows(2).all(|pair| pair[0] <= pair[1]), "{shares:?}");
    assert!(shares[peak..].iter().all(|share| *share == 0.0), "{shares:?}");
}

#[test]
fn a_well_tuned_world_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let config = example("well_tuned.yaml");
    let (code, result) = run_json(folder.path(), &["optimize", GOAL, "--yes", "--config", &config]);
    assert_eq!((code, result["status"].as_str()), (0, Some("no_change")), "{result:#}");
    assert!(result["rollout"].is_null());
}

#[test]
fn without_a_terminal_it_waits_for_an_answer_and_goes_on_when_it_comes() {
    let folder = tempfile::tempdir().unwrap();
    let (code, asked) = run_json(folder.path(), &["optimize", GOAL]);
    assert_eq!((code, asked["status"].as_str()), (3, Some("interrupted")));
    assert!(asked["question"].as_str().unwrap().contains("Roll out"), "{asked:#}");
    let thread = asked["thread_id"].as_str().unwrap();
    let wrong = run(folder.path(), &["resume", thread, "--answer", "perhaps"]);
    assert!(wrong.err.contains("runtime.answer_invalid"), "{}", wrong.err);
    let (code, done) = run_json(folder.path(), &["resume", thread, "--answer", "approve"]);
    assert_eq!((code, done["status"].as_str()), (0, Some("improved")), "{done:#}");
    let again = run(folder.path(), &["resume", thread, "--answer", "approve"]);
    assert_ne!(again.code, 0, "answered twice");
}

#[test]
fn a_rejected_change_is_no_change() {
    let folder = tempfile::tempdir().unwrap();
    let (_, asked) = run_json(folder.path(), &["optimize", GOAL]);
    let thread = asked["thread_id"].as_str().unwrap();
    let (code, done) = run_json(folder.path(), &["resume", thread, "--answer", "reject"]);
    assert_eq!((code, done["status"].as_str()), (0, Some("no_change")), "{done:#}");
}

#[test]
fn one_seed_gives_one_history() {
    let world = || {
        let folder = tempfile::tempdir().unwrap();
        let mut result = run_json(folder.path(), &["optimize", GOAL, "--yes", "--seed", "7"]).1;
        for own in ["run_id", "thread_id", "wall_s", "trials", "rollout"] {
            result.as_object_mut().unwrap().remove(own);
        }
        result
    };
    assert_eq!(world(), world());
}
