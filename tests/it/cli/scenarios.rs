//! Whole runs in simulated worlds.

use std::collections::BTreeMap;
use std::path::Path;

use perf_agent::agent::{ConfigFile, DeploymentConfig};
use perf_agent::base::Millis;
use perf_agent::domain::{Arm, TrafficTable};
use perf_agent::serving::simulated::{World, WorldSpec};
use serde_json::Value;

use super::contract;
use super::support::{example, journal, journal_file, own_removed, run, run_json};

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
            let (code, result) = run_json(folder.path(), &args);
            ended_for_a_reason(code, &result);
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
    contract::holds("improved", &improved[0].0);
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

/// Improved, left alone or taken back: the exit code says so too, nobody was hurt, and what did not improve says why.
fn ended_for_a_reason(code: i32, result: &Value) {
    let status = result["status"].as_str().unwrap();
    let expected = match status {
        "improved" | "no_change" => 0,
        "rolled_back" => 4,
        other => panic!("{other}: {result:#}"),
    };
    assert_eq!(code, expected, "{result:#}");
    assert!(result["model"].as_str().unwrap().starts_with("expert"));
    if !result["rollout"].is_null() {
        assert_eq!(number(result, "/rollout/requests_failed"), 0.0);
        assert_eq!(number(result, "/rollout/streams_cut"), 0.0);
    }
    let said = |path: &str| result.pointer(path).and_then(Value::as_str).unwrap_or_default();
    assert!(!said("/report/headline").is_empty() && !said("/report/summary").is_empty());
    let changes = result["change"].as_object().unwrap().len();
    assert_eq!(changes > 0, status == "improved", "{result:#}");
    if status == "rolled_back" {
        assert!(!said("/rollout/reason").is_empty(), "{result:#}");
        assert!(said("/report/summary").contains(said("/rollout/reason")), "{result:#}");
    }
}

/// Tokens per second of the same world in the same window, had nobody touched it.
fn unchanged_tok_s(folder: &Path, seed: u64, result: &Value) -> f64 {
    let last = journal(folder, result).pop().unwrap();
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
    contract::holds("rolled_back", &result);
    let lines = journal(folder.path(), &result);
    let tables: Vec<TrafficTable> = lines
        .iter()
        .filter_map(|line| line.pointer("/action/apply/table"))
        .map(|table| serde_json::from_value(table.clone()).unwrap())
        .collect();
    let shares: Vec<f64> = tables.iter().map(share).collect();
    // Up, then to nobody, never up again.
    let last = tables.last().unwrap();
    assert!(last.canary.is_none() && last.canary_percent == 0.0, "{last:?}");
    let peak = shares.iter().position(|share| *share == 0.0).unwrap();
    assert!(0 < peak && peak < shares.len(), "{shares:?}");
    assert!(shares[..peak].windows(2).all(|pair| pair[0] <= pair[1]), "{shares:?}");
    assert!(shares[peak..].iter().all(|share| *share == 0.0), "{shares:?}");
    let bounced = bounces(folder.path(), &result, &config);
    let times = |moves: usize| bounced.iter().filter(|times| **times == moves).count();
    println!(
        "sessions that never moved, moved once, twice: {}, {}, {}",
        times(0),
        times(1),
        times(2)
    );
    assert!(bounced.iter().all(|moves| *moves <= 2), "over and back: {bounced:?}");
    assert!(times(2) > 0, "nobody was on the canary");
}

/// The canary's share of sessions, 0–1.
fn share(table: &TrafficTable) -> f64 {
    table.canary.as_ref().map_or(0.0, |_| table.canary_percent / 100.0)
}

/// How often each session of the world changed its arm, as the world served them; the first is everyone's own.
fn bounces(folder: &Path, result: &Value, config: &str) -> Vec<usize> {
    let config = ConfigFile::read(Path::new(config)).unwrap();
    let DeploymentConfig::Simulated { world } = &config.deployments[0] else { panic!("real") };
    let spec = WorldSpec { seed: result["seed"].as_u64(), ..(**world).clone() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let records = runtime.block_on(async {
        let world = World::open(spec, Some(journal_file(folder, result))).unwrap();
        // Long enough for those who were on the canary to come again.
        let clock = world.clock();
        clock.sleep_until(clock.now().plus(600_000)).await;
        world.target().traffic.unwrap().records(0).await.unwrap().0
    });
    let mut sessions: BTreeMap<String, Vec<(Millis, Arm)>> = BTreeMap::new();
    for record in records {
        sessions.entry(record.session).or_default().push((record.started, record.arm));
    }
    let moves = |mut turns: Vec<(Millis, Arm)>| {
        turns.sort_unstable();
        let mut arms: Vec<Arm> = turns.into_iter().map(|(_, arm)| arm).collect();
        arms.insert(0, Arm::Stable);
        arms.windows(2).filter(|pair| pair[0] != pair[1]).count()
    };
    sessions.into_values().map(moves).collect()
}

#[test]
fn a_well_tuned_world_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let config = example("well_tuned.yaml");
    let (code, result) = run_json(folder.path(), &["optimize", GOAL, "--yes", "--config", &config]);
    assert_eq!((code, result["status"].as_str()), (0, Some("no_change")), "{result:#}");
    assert!(result["rollout"].is_null());
    assert_eq!(result["diagnosis"]["bottleneck"], "none");
    assert!(number(&result, "/baseline/ttft_p95_ms") <= 300.0);
    assert_eq!(result["report"]["headline"], "Nothing to change: the goal is met.");
    let why = result["report"]["summary"].as_str().unwrap();
    assert!(
        why.contains("Every target is met") && why.contains("within the 300 ms allowed"),
        "{why}"
    );
    let started = |line: &Value| line.pointer("/action/launch").is_some();
    assert!(!journal(folder.path(), &result).iter().any(started), "nothing was even tried");
    contract::holds("no_change", &result);
}

#[test]
fn without_a_terminal_it_waits_for_an_answer_and_goes_on_when_it_comes() {
    let folder = tempfile::tempdir().unwrap();
    let (code, asked) = run_json(folder.path(), &["optimize", GOAL]);
    assert_eq!((code, asked["status"].as_str()), (3, Some("interrupted")));
    assert!(asked["question"].as_str().unwrap().contains("Roll out"), "{asked:#}");
    let thread = asked["thread_id"].as_str().unwrap();
    contract::holds("interrupted", &asked);
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
        let result = run_json(folder.path(), &["optimize", GOAL, "--yes", "--seed", "7"]).1;
        assert!(result["trials"].as_array().is_some_and(|trials| !trials.is_empty()));
        assert!(result["rollout"]["steps"].as_array().is_some_and(|steps| !steps.is_empty()));
        own_removed(result)
    };
    assert_eq!(world(), world());
}
