//! What the server says about itself.

use std::collections::BTreeSet;

use super::support::Served;

/// Every route, written once more by hand: one that comes or goes is noticed here.
const ROUTES: [&str; 21] = [
    "delete /checkpoints/threads/{thread_id}",
    "get /graphs",
    "get /health",
    "get /health/detailed",
    "get /metrics",
    "get /openapi.json",
    "get /optimize/{thread_id}",
    "get /threads/{thread_id}/state",
    "get /tools",
    "post /checkpoints",
    "post /checkpoints/copy",
    "post /checkpoints/delete_runs",
    "post /checkpoints/prune",
    "post /checkpoints/search",
    "post /checkpoints/writes",
    "post /optimize",
    "post /optimize/{thread_id}/approve",
    "post /optimize/{thread_id}/reject",
    "post /threads",
    "post /threads/{thread_id}/runs/stream",
    "post /threads/{thread_id}/runs/wait",
];

#[tokio::test]
async fn the_document_lists_every_route_and_the_server_answers_each() {
    let served = Served::start().await;
    let (status, document) = served.get("/openapi.json").await;
    assert_eq!((status, &document["openapi"]), (200, &"3.1.0".into()));
    let mut listed = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            listed.insert(format!("{method} {path}"));
            let url = format!("{}{}", served.base, path.replace("{thread_id}", "nobody"));
            let response = served.client.request(method.to_uppercase().parse().unwrap(), url);
            let response = response.send().await.unwrap();
            let code = match response.status().is_success() {
                true => String::new(),
                false => response.text().await.unwrap(),
            };
            let missing = ["api.unknown_route", "api.method_not_allowed"];
            assert!(!missing.iter().any(|word| code.contains(word)), "{method} {path}: {code}");
        }
    }
    assert_eq!(listed, ROUTES.map(str::to_owned).into());
}

#[tokio::test]
async fn every_reference_in_the_document_leads_somewhere() {
    fn references(value: &serde_json::Value, found: &mut Vec<String>) {
        match value {
            serde_json::Value::Object(fields) => {
                found.extend(fields.get("$ref").and_then(|r| r.as_str()).map(str::to_owned));
                fields.values().for_each(|value| references(value, found));
            }
            serde_json::Value::Array(values) => values.iter().for_each(|v| references(v, found)),
            _ => {}
        }
    }
    let document = perf_agent::api::document();
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 20);
    for reference in found {
        let pointer = reference.trim_start_matches('#');
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
}

#[tokio::test]
async fn health_answers_and_detailed_health_has_asked_store_and_deployment() {
    let served = Served::start().await;
    let (status, health) = served.get("/health").await;
    assert_eq!((status, &health["status"]), (200, &"ok".into()));
    let (status, health) = served.get("/health/detailed").await;
    assert_eq!(status, 200, "{health}");
    let checks = health["checks"].as_array().unwrap();
    let ok = |prefix: &str| {
        let check = checks.iter().find(|c| c["name"].as_str().unwrap().starts_with(prefix));
        check.unwrap()["ok"] == true
    };
    assert!(ok("store") && ok("deployment"), "{health}");
}

#[tokio::test]
async fn tools_and_graphs_are_listed() {
    let served = Served::start().await;
    let (_, tools) = served.get("/tools").await;
    let rollout = tools.as_array().unwrap().iter().find(|tool| tool["name"] == "start_rollout");
    assert_eq!(rollout.unwrap()["approval"], "required");
    let (_, graphs) = served.get("/graphs").await;
    let names: Vec<&str> =
        graphs.as_array().unwrap().iter().filter_map(|graph| graph["name"].as_str()).collect();
    assert_eq!(names, ["optimize", "watch"]);
}

#[tokio::test]
async fn metrics_count_requests_by_route_and_never_by_thread() {
    let served = Served::start().await;
    served.get("/optimize/nobody").await;
    served.get("/optimize/nobody-else").await;
    let page = served.text("/metrics").await;
    let line = r#"perf_agent_http_requests_total{route="/optimize/{thread_id}",method="GET",status="404"} 2"#;
    assert!(page.contains(line), "{page}");
    assert!(page.contains("perf_agent_build_info{version="), "{page}");
    assert!(!page.contains("nobody"), "{page}");
}
