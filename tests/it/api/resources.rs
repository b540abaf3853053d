//! The Performance Agent's own resources: the same answers as the tools behind them give by hand.

use perf_agent::agent::Agent;
use serde_json::{Value, json};

use super::support::{GOAL, Served, settings};

/// A tool called as the command line does, on a fleet of its own.
async fn by_hand(tool: &str, args: Value) -> Value {
    let agent = Agent::shared(settings("memory:"), "serve").await.unwrap();
    agent.call_tool(tool, args, false).await.unwrap()
}

async fn first(served: &Served) -> (String, Value) {
    let (_, all) = served.get("/deployments").await;
    let name = all[0]["deployment"]["name"].as_str().unwrap().to_owned();
    let (_, config) = served.get(&format!("/deployments/{name}/config")).await;
    (name, config)
}

#[tokio::test]
async fn deployments_are_those_that_the_tools_see() {
    let served = Served::start().await;
    let (status, all) = served.get("/deployments").await;
    assert_eq!(status, 200);
    assert_eq!(json!({"deployments": all}), by_hand("list_deployments", json!({})).await);
    let (name, config) = first(&served).await;
    assert_eq!(served.get(&format!("/deployments/{name}")).await.1["deployment"]["config"], config);
    let (status, problem) = served.get("/deployments/nothing").await;
    assert_eq!((status, &problem["code"]), (404, &json!("api.unknown_deployment")));
}

#[tokio::test]
async fn an_observation_is_what_the_tool_reads_and_the_groups_are_parts_of_it() {
    let served = Served::start().await;
    let (name, _) = first(&served).await;
    let (status, seen) = served.get(&format!("/deployments/{name}/observation?window_s=60")).await;
    assert_eq!(status, 200, "{seen}");
    let args = json!({"deployment": name, "window_s": 60});
    assert_eq!(seen, by_hand("read_metrics", args).await);
    for (path, field) in
        [("latency", "ttft"), ("throughput", "generation_tok_s"), ("tokens", "input_tokens")]
    {
        let (status, part) = served.get(&format!("/metrics/{path}?window_s=60")).await;
        assert_eq!(status, 200, "{part}");
        assert!(!part[field].is_null(), "{path} {part}");
        assert_eq!(part["deployment"], *name);
    }
    assert_eq!(served.get("/metrics/gpu").await.0, 200);
    let (_, all) = served.get("/metrics/deployments").await;
    assert_eq!(all[0]["deployment"], *name);
    let (status, series) =
        served.get("/metrics/history?metric=finished_rps&window_s=120&step_s=60").await;
    assert_eq!(status, 200, "{series}");
    assert_eq!(series["points"].as_array().unwrap().len(), 2);
    let (status, problem) = served.get("/metrics/history?metric=happiness").await;
    assert_eq!(status, 422, "{problem}");
    assert_eq!(served.post("/metrics/collect", json!({})).await.0, 200);
}

#[tokio::test]
async fn an_analysis_is_the_tools_diagnosis_and_is_kept() {
    let served = Served::start().await;
    let (name, _) = first(&served).await;
    let target = json!({"metric": "ttft", "statistic": "p95", "max_ms": 300.0});
    let body = json!({"targets": [target], "keep": ["throughput"]});
    let (status, analysis) = served.post("/analyze", body).await;
    assert_eq!(status, 200, "{analysis}");
    let objective =
        json!({"deployment": name, "targets": [target], "keep": ["throughput"], "improve": null});
    let args = json!({"objective": objective, "window_s": 60});
    assert_eq!(analysis["diagnosis"], by_hand("explain_bottleneck", args).await);
    let id = analysis["id"].as_str().unwrap();
    assert_eq!(served.get(&format!("/analyze/{id}")).await, (200, analysis));
    assert_eq!(served.get("/analyze/nothing").await.0, 404);
}

#[tokio::test]
async fn a_config_is_judged_and_predicted_without_being_started() {
    let served = Served::start().await;
    let (name, config) = first(&served).await;
    let (status, validation) = served.post("/test/validate", json!({"config": config})).await;
    assert_eq!((status, &validation["legality"]["legal"]), (200, &json!(true)), "{validation}");
    let args = json!({"deployment": name, "config": config});
    assert_eq!(validation["prediction"], by_hand("simulate_config", args).await);
    let (status, problem) =
        served.post("/test/validate", json!({"config": {"colour": "red"}})).await;
    assert_eq!(status, 422, "{problem}");
}

#[tokio::test]
async fn a_trial_runs_in_the_background_and_is_kept_with_what_it_measured() {
    let served = Served::start().await;
    let (name, config) = first(&served).await;
    let proposal = json!({
        "name": "as-it-is", "deployment": name, "config": config, "change": {}, "rationale": "to see", "prediction": null,
    });
    let objective = json!({"deployment": name, "targets": [], "keep": [], "improve": "throughput"});
    let (status, problem) = served
        .post("/test/run", json!({"proposal": {"deployment": name}, "objective": objective}))
        .await;
    assert_eq!(status, 422, "{problem}");
    let (status, started) =
        served.post("/test/run", json!({"proposal": proposal, "objective": objective})).await;
    assert_eq!(status, 202, "{started}");
    let id = started["id"].as_str().unwrap();
    let path = format!("/test/results/{id}");
    let done = loop {
        let (_, record) = served.get(&path).await;
        if record["status"] != "running" {
            break record;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    assert_eq!(done["status"], "done", "{done}");
    assert_eq!(done["trial"]["proposal"]["name"], "as-it-is");
    assert_eq!(served.get("/test/results").await.1, json!([done]));
    assert_eq!(served.delete(&format!("/test/{id}")).await, 204);
    assert_eq!(served.get(&path).await.0, 404);
}

#[tokio::test]
async fn a_rollout_is_listed_while_it_goes_on_and_afterwards() {
    let served = Served::start().await;
    let thread = served.optimize(json!({"goal": GOAL, "approved": true})).await;
    let result = served.rested(&thread).await;
    let id = result["rollout"]["id"].as_str().unwrap();
    assert_eq!(served.get("/rollout/status").await.1, json!([]));
    let (_, history) = served.get("/rollout/history").await;
    assert_eq!(history[0]["id"], id);
    assert_eq!(served.get(&format!("/rollout/{id}")).await.1, history[0]);
    assert_eq!(served.post("/rollout/nothing/abort", json!({})).await.0, 404);
    let (status, events) = served.get(&format!("/rollout/{id}/events")).await;
    assert_eq!((status, &events), (200, &history[0]["transitions"]));
    assert_eq!(events.as_array().unwrap().last().unwrap()["to"], "done", "{events}");
    assert_eq!(served.get("/rollout/nothing/events").await.0, 404);
    let (status, problem) = served.post("/rollout/rollback", json!({})).await;
    assert_eq!((status, &problem["code"]), (404, &json!("api.not_found")), "{problem}");
    let (status, _) = served.post("/rollout/rollback", json!({"deployment": "nothing"})).await;
    assert_eq!(status, 404);
    let (_, runs) = served.get("/optimize/history").await;
    assert_eq!(runs, json!([result]));
}

#[tokio::test]
async fn a_graph_is_shown_drawn_and_checked_with_every_finding() {
    let served = Served::start().await;
    let (_, graph) = served.get("/graphs/watch").await;
    assert_eq!(graph["nodes"], json!(["understand", "observe", "diagnose"]));
    assert!(served.text("/graphs/watch/diagram").await.contains("flowchart"));
    assert_eq!(served.get("/graphs/nothing").await.0, 404);
    let text = include_str!("../../../graphs/watch.yaml");
    let (_, checked) = served.post("/graphs/check", json!({"text": text})).await;
    assert_eq!((&checked["ok"], &checked["name"]), (&json!(true), &json!("watch")));
    let bad = text
        .replace("tool: read_metrics", "tool: read_metric")
        .replace("writes: diagnosis", "writes: diagnosys");
    let (status, checked) = served.post("/graphs/check", json!({"text": bad})).await;
    assert_eq!((status, &checked["ok"]), (200, &json!(false)));
    assert!(checked["findings"].as_array().unwrap().len() > 1, "{checked}");
    let (_, prompts) = served.get("/prompts").await;
    assert!(prompts.as_array().unwrap().contains(&json!("approve.md")));
    assert!(served.text("/prompts/approve.md").await.len() > 20);
    assert_eq!(served.get("/prompts/..%2fCargo.toml").await.0, 404);
}

#[tokio::test]
async fn health_says_whether_it_is_alive_ready_and_which_build_it_is() {
    let served = Served::start().await;
    for path in ["/health/live", "/health/ready", "/health/version"] {
        let (status, health) = served.get(path).await;
        assert_eq!(
            (status, &health["version"]),
            (200, &json!(env!("CARGO_PKG_VERSION"))),
            "{path}"
        );
    }
}
