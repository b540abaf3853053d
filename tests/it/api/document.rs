//! What the server says about itself.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::Digest;

use super::support::Served;

/// Every route, written once more by hand: one that comes or goes is noticed here.
const ROUTES: [&str; 149] = [
    "delete /assistants/{assistant_id}",
    "delete /checkpoints/threads/{thread_id}",
    "delete /deployments/{name}",
    "delete /keys/{id}",
    "delete /runs/crons/{cron_id}",
    "delete /store/items",
    "delete /test/{id}",
    "delete /threads/{thread_id}",
    "delete /threads/{thread_id}/runs/{run_id}",
    "get /analyze/{id}",
    "get /api/v1/",
    "get /api/v1/capabilities",
    "get /api/v1/config",
    "get /api/v1/health",
    "get /api/v1/health/detailed",
    "get /api/v1/history/{instance_id}",
    "get /api/v1/metrics",
    "get /api/v1/metrics/{engine}/{instance_id}",
    "get /api/v1/workflows",
    "get /api/v1/workflows/{id}",
    "get /assistants/{assistant_id}",
    "get /assistants/{assistant_id}/graph",
    "get /assistants/{assistant_id}/schemas",
    "get /assistants/{assistant_id}/subgraphs",
    "get /assistants/{assistant_id}/subgraphs/{namespace}",
    "get /audit",
    "get /deployments",
    "get /deployments/{name}",
    "get /deployments/{name}/config",
    "get /deployments/{name}/observation",
    "get /docs",
    "get /graphs",
    "get /graphs/{name}",
    "get /graphs/{name}/diagram",
    "get /graphs/{name}/migrations",
    "get /health",
    "get /health/detailed",
    "get /health/live",
    "get /health/ready",
    "get /health/version",
    "get /info",
    "get /keys",
    "get /metrics",
    "get /metrics/deployments",
    "get /metrics/gpu",
    "get /metrics/history",
    "get /metrics/latency",
    "get /metrics/throughput",
    "get /metrics/tokens",
    "get /ok",
    "get /openapi.json",
    "get /optimize/history",
    "get /optimize/recommendations",
    "get /optimize/{thread_id}",
    "get /prompts",
    "get /prompts/{name}",
    "get /rollout/history",
    "get /rollout/status",
    "get /rollout/{id}",
    "get /rollout/{id}/events",
    "get /runs/crons/{cron_id}",
    "get /store/items",
    "get /test/results",
    "get /test/results/{id}",
    "get /threads/{thread_id}",
    "get /threads/{thread_id}/diff",
    "get /threads/{thread_id}/history",
    "get /threads/{thread_id}/journal",
    "get /threads/{thread_id}/runs",
    "get /threads/{thread_id}/runs/{run_id}",
    "get /threads/{thread_id}/runs/{run_id}/join",
    "get /threads/{thread_id}/runs/{run_id}/stream",
    "get /threads/{thread_id}/state",
    "get /threads/{thread_id}/state/{checkpoint_id}",
    "get /threads/{thread_id}/stream",
    "get /tools",
    "patch /assistants/{assistant_id}",
    "patch /runs/crons/{cron_id}",
    "patch /threads/{thread_id}",
    "post /analyze",
    "post /api/v1/analyze",
    "post /api/v1/collect/{engine}",
    "post /api/v1/optimize",
    "post /api/v1/workflows",
    "post /api/v1/workflows/{id}/approve",
    "post /api/v1/workflows/{id}/reject",
    "post /assistants",
    "post /assistants/count",
    "post /assistants/search",
    "post /assistants/{assistant_id}/latest",
    "post /assistants/{assistant_id}/versions",
    "post /checkpoints",
    "post /checkpoints/copy",
    "post /checkpoints/delete_runs",
    "post /checkpoints/prune",
    "post /checkpoints/search",
    "post /checkpoints/writes",
    "post /deployments",
    "post /graphs/check",
    "post /graphs/{name}/migrations",
    "post /keys",
    "post /mcp",
    "post /metrics/collect",
    "post /optimize",
    "post /optimize/batch",
    "post /optimize/kv-cache",
    "post /optimize/parallelism",
    "post /optimize/quantize",
    "post /optimize/{thread_id}/approve",
    "post /optimize/{thread_id}/reject",
    "post /rollout/rollback",
    "post /rollout/start",
    "post /rollout/{id}/abort",
    "post /rollout/{id}/pause",
    "post /rollout/{id}/promote",
    "post /rollout/{id}/resume",
    "post /runs",
    "post /runs/batch",
    "post /runs/cancel",
    "post /runs/crons",
    "post /runs/crons/count",
    "post /runs/crons/search",
    "post /runs/stream",
    "post /runs/wait",
    "post /store/items/search",
    "post /store/namespaces",
    "post /task",
    "post /test/run",
    "post /test/validate",
    "post /threads",
    "post /threads/count",
    "post /threads/prune",
    "post /threads/search",
    "post /threads/{thread_id}/copy",
    "post /threads/{thread_id}/fork",
    "post /threads/{thread_id}/history",
    "post /threads/{thread_id}/prune",
    "post /threads/{thread_id}/runs",
    "post /threads/{thread_id}/runs/crons",
    "post /threads/{thread_id}/runs/stream",
    "post /threads/{thread_id}/runs/wait",
    "post /threads/{thread_id}/runs/{run_id}/cancel",
    "post /threads/{thread_id}/signals/{name}",
    "post /threads/{thread_id}/state",
    "post /threads/{thread_id}/state/checkpoint",
    "put /deployments/{name}",
    "put /graphs/{name}",
    "put /prompts/{name}",
    "put /store/items",
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

#[test]
fn problems_have_their_media_type_and_every_body_can_be_refused() {
    let document = perf_agent::api::document();
    let operations = document["paths"].as_object().unwrap().values();
    let operations = operations.flat_map(|path| path.as_object().unwrap().values());
    for operation in operations {
        let responses = operation["responses"].as_object().unwrap();
        for response in responses.values() {
            let schema = &response["content"]["application/json"]["schema"]["$ref"];
            assert_ne!(schema, "#/components/schemas/ProblemDetails", "{operation}");
        }
        let refusals = responses.keys().any(|status| status == "4XX");
        assert!(refusals || operation["requestBody"].is_null(), "{operation}");
    }
}

#[tokio::test]
async fn every_reference_in_the_document_leads_somewhere() {
    fn references(value: &serde_json::Value, found: &mut Vec<String>) {
        match value {
            serde_json::Value::Object(fields) => {
                found.extend(fields.get("$ref").and_then(|r| r.as_str()).map(str::to_owned));
                // An example may be a schema of its own.
                let parts = fields.iter().filter(|(name, _)| *name != "example");
                parts.for_each(|(_, value)| references(value, found));
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

#[tokio::test]
async fn the_explorer_is_one_page_that_may_run_its_own_script_only() {
    let served = Served::start().await;
    let response = served.client.get(format!("{}/docs", served.base)).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let policy = response.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.starts_with("default-src 'none'"), "{policy}");
    assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
    let page = response.text().await.unwrap();
    for element in ["script", "style"] {
        let (_, rest) = page.split_once(&format!("<{element}>")).unwrap();
        let (text, _) = rest.split_once(&format!("</{element}>")).unwrap();
        let digest = BASE64.encode(sha2::Sha256::digest(text.as_bytes()));
        assert!(policy.contains(&format!("{element}-src 'sha256-{digest}'")), "{policy}");
    }
    // Nothing from elsewhere, and nothing that the server says becomes markup.
    for word in ["http://", "https://", "src=", "@import", "innerHTML", "style=\"", "onclick=\""] {
        assert!(!page.contains(word), "{word}");
    }
    assert!(page.contains("/openapi.json"));
}
