//! The object that `optimize --format json` prints: which keys there are, of which type, and that the numbers can be true.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::help::check;
use super::support::run_json;

/// Holds a result of `status` to the agreed tree of keys.
pub fn holds(status: &str, result: &Value) {
    assert_eq!(result["status"], status, "{result:#}");
    check(&format!("contract_{status}.txt"), &tree(result));
    common(result);
    if status == "improved" {
        improved(result);
    }
}

/// A line for each path: its types. Elements of a list share one path.
fn tree(value: &Value) -> String {
    let mut types: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    walk("", value, &mut types);
    let line = |(path, kinds): (String, BTreeSet<&str>)| {
        let kinds: Vec<&str> = kinds.into_iter().collect();
        format!("{path}: {}\n", kinds.join(" | "))
    };
    types.into_iter().map(line).collect()
}

fn walk(path: &str, value: &Value, types: &mut BTreeMap<String, BTreeSet<&str>>) {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "list",
        Value::Object(_) => "object",
    };
    if !path.is_empty() {
        types.entry(path.to_owned()).or_default().insert(kind);
    }
    match value {
        Value::Object(keys) => {
            // Which knobs those are is the search's business.
            let knobs = path.ends_with("change") || path.ends_with("config");
            for (key, value) in keys {
                let key = if knobs { "*" } else { key };
                let dot = if path.is_empty() { "" } else { "." };
                walk(&format!("{path}{dot}{key}"), value, types);
            }
        }
        Value::Array(items) => {
            items.iter().for_each(|item| walk(&format!("{path}[]"), item, types))
        }
        _ => {}
    }
}

fn number(result: &Value, path: &str) -> f64 {
    result.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("{path}: {result:#}"))
}

/// What holds however a run ended.
fn common(result: &Value) {
    for id in ["run_id", "thread_id"] {
        assert_eq!(result[id].as_str().map(str::len), Some(36), "{result:#}");
    }
    assert!(number(result, "/wall_s") > 0.0);
    assert!(number(result, "/virtual_s") >= 0.0);
    let failed = result["status"] == "failed";
    assert_eq!(result["error"].is_object(), failed, "{result:#}");
    assert_eq!(result["question"].is_string(), result["status"] == "interrupted", "{result:#}");
    if let Some(diagnosis) = result["diagnosis"].as_object() {
        let score = number(result, "/diagnosis/score");
        assert!((0.0..=1.0).contains(&score), "{score}");
        assert!(!diagnosis["evidence"].as_array().unwrap().is_empty(), "{result:#}");
        let second = number(result, "/diagnosis/runner_up/score");
        assert!(0.0 < second && second <= score, "{second} after {score}");
        assert_ne!(result["diagnosis"]["runner_up"]["cause"], result["diagnosis"]["bottleneck"]);
    }
    for part in ["baseline", "after"].into_iter().filter(|part| !result[part].is_null()) {
        users_got(result, part);
    }
}

/// Figures that belong together.
fn users_got(result: &Value, part: &str) {
    let of = |key: &str| number(result, &format!("/{part}/{key}"));
    for kind in ["ttft", "tpot", "e2e"] {
        let (p50, p95) = (of(&format!("{kind}_p50_ms")), of(&format!("{kind}_p95_ms")));
        assert!(0.0 < p50 && p50 <= p95, "{part} {kind}: {p50}, {p95}");
    }
    assert!(of("e2e_p95_ms") > of("ttft_p95_ms"));
    assert!(0.0 < of("goodput_rps") && of("goodput_rps") <= of("finished_rps"), "{part}");
    assert!(of("throughput_tok_s") > of("finished_rps"));
    assert!((0.0..=1.0).contains(&of("error_rate")));
    let finished = of("finished_rps") * of("window_s");
    assert!((finished / of("requests") - 1.0).abs() < 0.05, "{finished} of {}", of("requests"));
}

/// Hours on the deployment's clock in seconds here, and every step of the rollout on record.
fn improved(result: &Value) {
    let steps = result["rollout"]["steps"].as_array().unwrap();
    let percents: Vec<f64> = steps.iter().map(|step| step["percent"].as_f64().unwrap()).collect();
    assert_eq!(percents, [5.0, 25.0, 50.0, 100.0]);
    assert!(steps.iter().all(|step| step["verdict"] == "passed"), "{result:#}");
    let (first, last) = (&steps[0]["started"], &steps[3]["ended"]);
    let rollout_s = (last.as_f64().unwrap() - first.as_f64().unwrap()) / 1000.0;
    let observed_s = number(result, "/baseline/window_s") + number(result, "/after/window_s");
    assert!(number(result, "/virtual_s") > rollout_s + number(result, "/after/window_s") / 2.0);
    assert!(observed_s > 0.0 && number(result, "/virtual_s") > number(result, "/wall_s"));
    assert!(number(result, "/after/goodput_rps") > number(result, "/baseline/goodput_rps"));
    for (knob, change) in result["change"].as_object().unwrap() {
        assert_ne!(change["from"], change["to"], "{knob}");
    }
}

#[test]
fn a_failed_run_has_the_same_keys_and_says_what_went_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let (code, result) = run_json(folder.path(), &["optimize", "make it nice", "--yes"]);
    assert_eq!(code, 1);
    holds("failed", &result);
}

#[test]
fn the_keys_of_the_contract_are_the_same_however_a_run_ends() {
    let keys = |status: &str| {
        let path =
            format!("{}/tests/it/cli/golden/contract_{status}.txt", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).unwrap();
        let names = text.lines().map(|line| line.split([':', '.', '[']).next().unwrap().to_owned());
        names.collect::<BTreeSet<String>>()
    };
    for status in ["no_change", "rolled_back", "interrupted", "failed"] {
        assert_eq!(keys(status), keys("improved"), "{status}");
    }
}
