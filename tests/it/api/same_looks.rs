//! What is only looked at is the same over HTTP and on the command line: metrics, health, graphs, trials, rollouts.

use std::path::Path;

use serde_json::{Value, json};

use super::support::{GOAL, Served};
use crate::cli::support::{run, run_json};

/// What `perf-agent tools call` prints, on a fleet of the same seed.
fn called(folder: &Path, tool: &str, args: &Value) -> Value {
    let done = run(folder, &["tools", "call", tool, &args.to_string(), "--seed", "2"]);
    assert_eq!(done.code, 0, "{tool}: {}", done.err);
    serde_json::from_str(&done.out).unwrap()
}

async fn got(served: &Served, path: &str) -> Value {
    let (status, answer) = served.get(path).await;
    assert_eq!(status, 200, "{path}: {answer}");
    answer
}

#[tokio::test]
async fn each_group_of_metrics_shows_what_the_tools_say() {
    let served = Served::start().await;
    let folder = tempfile::tempdir().unwrap();
    let deployments = got(&served, "/deployments").await;
    let name = deployments[0]["deployment"]["name"].clone();
    let window = json!({"deployment": name, "window_s": 60});
    let seen = called(folder.path(), "read_metrics", &window);
    let (status, collected) = served.post("/metrics/collect", json!({})).await;
    assert_eq!((status, &collected), (200, &seen));
    assert_eq!(got(&served, "/metrics/deployments").await, json!([seen]));
    for (group, some) in [
        ("latency", "ttft"),
        ("throughput", "generation_tok_s"),
        ("tokens", "kv_cache_utilization"),
    ] {
        let part = got(&served, &format!("/metrics/{group}")).await;
        assert!(!part[some].is_null(), "{group}: {part}");
        for (field, value) in part.as_object().unwrap() {
            assert_eq!(
                *value,
                if field == "deployment" { name.clone() } else { seen[field].clone() },
                "{group}: {field}"
            );
        }
    }
    let gpus = called(folder.path(), "read_gpus", &json!({"deployment": name}));
    assert_eq!(got(&served, "/metrics/gpu").await, gpus);
    let series =
        json!({"deployment": name, "metric": "finished_rps", "window_s": 120, "step_s": 60});
    let path = "/metrics/history?metric=finished_rps&window_s=120&step_s=60";
    assert_eq!(got(&served, path).await, called(folder.path(), "query_history", &series));
}

#[tokio::test]
async fn a_trial_measures_what_the_tool_measures() {
    let served = Served::start().await;
    let folder = tempfile::tempdir().unwrap();
    let deployments = got(&served, "/deployments").await;
    let deployment = &deployments[0]["deployment"];
    let mut config = deployment["config"].clone();
    config["max_num_seqs"] = json!(96);
    let objective = json!({
        "deployment": deployment["name"], "keep": ["throughput"], "improve": null,
        "targets": [{"metric": "ttft", "statistic": "p95", "max_ms": 300.0}],
    });
    let args = json!({"deployment": deployment["name"], "config": config});
    let proposals = called(folder.path(), "propose_config", &args);
    let order = json!({"proposal": proposals[0], "objective": objective});
    let (status, begun) = served.post("/test/run", order.clone()).await;
    assert_eq!(status, 202, "{begun}");
    let path = format!("/test/results/{}", begun["id"].as_str().unwrap());
    let trial = loop {
        let record = got(&served, &path).await;
        if record["status"] != "running" {
            break record["trial"].clone();
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    let fresh = tempfile::tempdir().unwrap();
    let typed = called(fresh.path(), "run_trial", &order);
    assert!(trial["measured"].is_object() && trial["baseline"].is_object(), "{trial}");
    // The name of a trial is its own.
    let unnamed = |mut trial: Value| {
        trial["id"] = Value::Null;
        trial
    };
    assert_eq!(unnamed(trial), unnamed(typed));
}

#[tokio::test]
async fn health_says_what_the_doctor_says() {
    let served = Served::start().await;
    let folder = tempfile::tempdir().unwrap();
    let health = got(&served, "/health/detailed").await;
    let (code, checks) = run_json(folder.path(), &["doctor", "--seed", "2", "--model", "expert"]);
    assert_eq!(code, 0, "{checks}");
    let told = |checks: &Value| -> Vec<(Value, Value)> {
        let checks = checks.as_array().unwrap().iter();
        checks.map(|check| (check["name"].clone(), check["ok"].clone())).collect()
    };
    let (ours, theirs) = (told(&health["checks"]), told(&checks));
    assert!(ours.len() > 3, "{health}");
    assert_eq!(ours, theirs);
}

#[tokio::test]
async fn graphs_and_tools_are_listed_and_drawn_alike() {
    let served = Served::start().await;
    let folder = tempfile::tempdir().unwrap();
    for graph in ["watch", "optimize"] {
        for form in ["ascii", "mermaid"] {
            let drawn = served.text(&format!("/graphs/{graph}/diagram?form={form}")).await;
            let typed = run(folder.path(), &["graph", "show", graph, "--drawing", form]);
            assert_eq!((typed.code, typed.out.trim_end()), (0, drawn.trim_end()), "{graph} {form}");
        }
    }
    let (code, tools) = run_json(folder.path(), &["tools", "list"]);
    assert_eq!((code, tools), (0, got(&served, "/tools").await));
    let bad = "schema: graph/v1\nname: empty\n";
    std::fs::write(folder.path().join("graph.yaml"), bad).unwrap();
    let (status, checked) = served.post("/graphs/check", json!({"text": bad})).await;
    assert_eq!((status, &checked["ok"]), (200, &json!(false)));
    let typed = run(folder.path(), &["graph", "check", "graph.yaml"]);
    assert_ne!(typed.code, 0);
    let said = format!("{}{}", typed.out, typed.err);
    for line in checked["rendered"].as_str().unwrap().lines().filter(|line| line.contains("PA")) {
        assert!(said.contains(line.trim()), "{line} is not in {said}");
    }
}

#[tokio::test]
async fn a_rollout_is_where_the_run_that_made_it_says_it_is() {
    let served = Served::start().await;
    let thread = served.optimize(json!({"goal": GOAL, "approved": true})).await;
    let result = served.rested(&thread).await;
    let id = result["rollout"]["id"].as_str().unwrap();
    let record = got(&served, &format!("/rollout/{id}")).await;
    assert_eq!(record["id"], result["rollout"]["id"]);
    assert_eq!(got(&served, "/rollout/history").await, json!([record]));
    assert_eq!(got(&served, "/rollout/status").await, json!([]));
    assert_eq!(got(&served, &format!("/rollout/{id}/events")).await, record["transitions"]);
    let folder = tempfile::tempdir().unwrap();
    let args = ["optimize", GOAL, "--yes", "--seed", "2", "--model", "expert"];
    let (code, typed) = run_json(folder.path(), &args);
    assert_eq!(code, 0);
    for field in ["status", "steps", "requests_failed", "streams_cut"] {
        assert!(!typed["rollout"][field].is_null(), "{field}");
        assert_eq!(typed["rollout"][field], result["rollout"][field], "{field}");
    }
}
