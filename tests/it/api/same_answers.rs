//! The HTTP API and the command line answer the same, word for word and number for number.

use std::path::Path;

use serde_json::{Value, json};

use super::support::{GOAL, Served};
use crate::cli::support::{own_removed, run, run_json};

/// What `perf-agent tools call` prints, on a fleet of the same seed.
fn by_command(folder: &Path, tool: &str, args: &Value) -> Value {
    let done = run(folder, &["tools", "call", tool, &args.to_string(), "--seed", "2"]);
    assert_eq!(done.code, 0, "{}", done.err);
    serde_json::from_str(&done.out).unwrap()
}

/// Without who was at the keyboard.
fn nobodys(result: Value) -> Value {
    let mut result = own_removed(result);
    let by = result["rollout"]["approved_by"].take();
    assert!(by.as_str().is_some_and(|by| by.contains("approval: never")), "{by}");
    result
}

#[tokio::test]
async fn an_optimization_comes_to_the_same_over_http_and_on_the_command_line() {
    let served = Served::start().await;
    let thread = served.optimize(json!({"goal": GOAL, "approved": true})).await;
    let over_http = served.rested(&thread).await;
    let folder = tempfile::tempdir().unwrap();
    let args = ["optimize", GOAL, "--yes", "--seed", "2", "--model", "expert"];
    let (code, typed) = run_json(folder.path(), &args);
    assert_eq!((code, &typed["status"]), (0, &json!("improved")), "{typed:#}");
    let (over_http, typed) = (nobodys(over_http), nobodys(typed));
    for (key, value) in typed.as_object().unwrap().iter().filter(|(key, _)| *key != "model") {
        assert_eq!(over_http[key], *value, "{key}");
    }
    assert_eq!(over_http.as_object().unwrap().len(), typed.as_object().unwrap().len());
}

#[tokio::test]
async fn an_analysis_and_a_validation_are_those_of_the_command_line() {
    let served = Served::start().await;
    let folder = tempfile::tempdir().unwrap();
    let (_, all) = served.get("/deployments").await;
    assert_eq!(
        json!({"deployments": all}),
        by_command(folder.path(), "list_deployments", &json!({}))
    );
    let deployment = &all[0]["deployment"];
    let target = json!({"metric": "ttft", "statistic": "p95", "max_ms": 300.0});
    let (status, analysis) =
        served.post("/analyze", json!({"targets": [target], "keep": ["throughput"]})).await;
    assert_eq!(status, 200, "{analysis}");
    let objective = json!({
        "deployment": deployment["name"], "targets": [target], "keep": ["throughput"], "improve": null,
    });
    let args = json!({"objective": objective, "window_s": 60});
    assert_eq!(analysis["diagnosis"], by_command(folder.path(), "explain_bottleneck", &args));
    let config = &deployment["config"];
    let (status, validation) = served.post("/test/validate", json!({"config": config})).await;
    assert_eq!(status, 200, "{validation}");
    let args = json!({"deployment": deployment["name"], "config": config});
    assert_eq!(validation["legality"], by_command(folder.path(), "check_config", &args));
    assert_eq!(validation["prediction"], by_command(folder.path(), "simulate_config", &args));
}
