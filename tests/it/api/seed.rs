//! The seed's shapes under `/api/v1`: what its clients check, and that there is something real behind each answer.

use std::time::{Duration, Instant};

use axum::Router;
use axum::response::Redirect;
use axum::routing::get;
use perf_agent::agent::{ConfigFile, Settings};
use perf_agent::api::{Scope, SecurityOptions};
use perf_agent::serving::simulated::{WorldSpec, serve};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::support::{Keyed, Served, settings};

const DEAD: &str = "http://127.0.0.1:9/metrics";

/// A server on this machine; it ends with the value.
struct Local {
    address: String,
    serving: JoinHandle<()>,
}

impl Drop for Local {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Local {
    async fn listener() -> (TcpListener, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        (listener, address)
    }

    /// A simulated vLLM that has answered one request.
    async fn engine() -> Self {
        let (listener, address) = Self::listener().await;
        let serving = tokio::spawn(async move {
            let never = std::future::pending::<()>();
            serve(WorldSpec::default(), listener, 50.0, never).await.unwrap();
        });
        let prompt = json!({"prompt": "x".repeat(400), "max_tokens": 5});
        let url = format!("http://{address}/v1/completions");
        let answer = reqwest::Client::new().post(url).json(&prompt).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        Self { address, serving }
    }

    async fn of(router: Router) -> Self {
        let (listener, address) = Self::listener().await;
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, serving }
    }

    /// A server that shows a page that was written down.
    async fn page(name: &str) -> Self {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(root.join("tests/it/serving/pages").join(name)).unwrap();
        Self::of(Router::new().route("/metrics", get(async move || text))).await
    }

    fn url(&self) -> String {
        format!("http://{}/metrics", self.address)
    }
}

async fn name(served: &Served) -> String {
    let (_, all) = served.get("/deployments").await;
    all[0]["deployment"]["name"].as_str().unwrap().to_owned()
}

fn has(value: &Value, keys: &[&str]) {
    for key in keys {
        assert!(value.get(key).is_some(), "`{key}` is missing: {value}");
    }
}

/// Asks until a workflow is in one of these states.
async fn until(served: &Served, id: &str, statuses: &[&str]) -> Value {
    for _ in 0..3_000 {
        let (code, state) = served.get(&format!("/api/v1/workflows/{id}")).await;
        assert_eq!(code, 200, "{state}");
        if statuses.contains(&state["status"].as_str().unwrap()) {
            return state;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("workflow {id} is never {statuses:?}");
}

#[tokio::test]
async fn health_says_who_answers_and_what_was_asked() {
    let served = Served::start().await;
    let (status, health) = served.get("/api/v1/health").await;
    assert_eq!((status, &health["status"]), (200, &json!("healthy")));
    has(&health, &["timestamp", "version", "agent_id", "agent_type"]);
    assert!(health["uptime_seconds"].as_f64().unwrap() >= 0.0);
    let (status, health) = served.get("/api/v1/health/detailed").await;
    assert_eq!((status, &health["status"]), (200, &json!("healthy")), "{health}");
    assert!(health["components"]["database"]["latency_ms"].as_f64().unwrap() > 0.0, "{health}");
    assert_eq!(health["components"]["orchestrator"]["status"], "not_configured");
    assert_eq!(health["components"]["deployments"][0]["ok"], true);
    let (status, root) = served.get("/api/v1/").await;
    assert_eq!((status, &root["service"]), (200, &json!("OptiInfra Performance Agent")));
    assert!(!root["capabilities"].as_array().unwrap().is_empty());
}

#[tokio::test]
async fn config_and_capabilities_are_those_of_this_process() {
    let served = Served::start().await;
    let (status, config) = served.get("/api/v1/config").await;
    assert_eq!(status, 200);
    has(&config, &["agent_id", "agent_type", "port", "log_level", "environment", "version"]);
    assert!(served.base.ends_with(&format!(":{}", config["port"])), "{config}");
    let (status, able) = served.get("/api/v1/capabilities").await;
    assert_eq!(status, 200);
    let lists = |field: &str, words: &[&str]| {
        let listed = able[field].as_array().unwrap();
        assert!(words.iter().all(|word| listed.contains(&json!(word))), "{field}: {able}");
    };
    lists("capabilities", &["performance_monitoring", "bottleneck_detection", "gradual_rollout"]);
    lists("supported_platforms", &["vllm", "tgi", "sglang"]);
    lists("optimization_types", &["kv_cache", "quantization", "batching"]);
    assert_eq!(able["workflow_features"].as_array().unwrap().len(), 4);
}

#[tokio::test]
async fn refusals_have_the_seeds_two_shapes() {
    let served = Served::start().await;
    let (status, refused) = served.post("/api/v1/workflows", json!({})).await;
    assert_eq!((status, &refused["error"]), (422, &json!("validation_error")));
    assert_eq!(refused["invalid_fields"], json!(["body.instance_id", "body.instance_type"]));
    assert_eq!(refused["details"][0]["type"], "missing");
    assert_eq!(refused["path"], "/api/v1/workflows");
    has(&refused, &["message", "timestamp"]);
    let (status, missing) = served.get("/api/v1/workflows/non-existent-id").await;
    assert_eq!((status, &missing["error"]), (404, &json!("http_404")));
    has(&missing, &["message", "timestamp", "path"]);
    for body in [json!([]), json!({"instance_id": 5, "instance_type": "vllm"})] {
        assert_eq!(served.post("/api/v1/workflows", body).await.0, 422);
    }
    assert_eq!(served.get("/api/v1/history/x?hours=soon").await.0, 422);
    for path in [
        "/api/v1/history/localhost:8000?hours=24&limit=100",
        "/api/v1/history/localhost:8000?hours=-5",
        "/api/v1/workflows",
        "/api/v1/workflows?status=completed&limit=10",
    ] {
        assert_eq!(served.get(path).await, (200, json!([])), "{path}");
    }
}

#[tokio::test]
async fn each_engine_is_collected_and_a_dead_one_is_an_answer_too() {
    let served = Served::start().await;
    let vllm = Local::engine().await;
    let tgi = Local::page("made_tgi_last.prom").await;
    let sglang = Local::page("made_sglang_last.prom").await;
    for (engine, url) in [("vllm", vllm.url()), ("tgi", tgi.url()), ("sglang", sglang.url())] {
        let path = format!("/api/v1/collect/{engine}");
        let body = json!({"instance_id": "one", "endpoint": url, "timeout": 5});
        let (status, collected) = served.post(&path, body).await;
        assert_eq!((status, &collected["success"]), (200, &json!(true)), "{collected}");
        assert_eq!((&collected["instance_id"], &collected["error"]), (&json!("one"), &Value::Null));
        assert!(collected["metrics"]["raw_metrics"].as_array().unwrap().len() > 10);
        let done = &collected["metrics"]["request_metrics"]["success_total"];
        assert!(done.as_u64().unwrap() > 0, "{engine}: {collected}");
        let body = json!({"instance_id": "one", "endpoint": DEAD});
        let (status, dead) = served.post(&path, body).await;
        assert_eq!((status, &dead["success"]), (200, &json!(false)), "{dead}");
        assert!(dead["metrics"].is_null() && !dead["error"].as_str().unwrap().is_empty());
        let path = format!("/api/v1/metrics/{engine}/one?endpoint={url}");
        assert_eq!(served.get(&path).await.0, 200);
        let path = format!("/api/v1/metrics/{engine}/one?endpoint={DEAD}");
        let (status, dead) = served.get(&path).await;
        assert_eq!((status, &dead["error"]), (500, &json!("http_500")));
    }
    assert_eq!(served.get("/api/v1/metrics/vllm/one").await.0, 422);
    assert_eq!(served.post("/api/v1/collect/other", json!({})).await.0, 404);
    // A page of another engine is no page of this one.
    let body = json!({"instance_id": "one", "endpoint": vllm.url()});
    assert_eq!(served.post("/api/v1/collect/tgi", body).await.1["success"], false);
}

#[tokio::test]
async fn a_snapshot_has_what_the_server_counted_and_is_kept_for_the_history() {
    let served = Served::start().await;
    let engine = Local::engine().await;
    let body = json!({"instance_id": "one", "endpoint": format!("http://{}", engine.address)});
    let (_, collected) = served.post("/api/v1/collect/vllm", body).await;
    let metrics = &collected["metrics"];
    // One request of 100 tokens in and 5 out, as the engine was asked.
    assert_eq!(metrics["request_metrics"]["success_total"], 1, "{metrics}");
    assert_eq!(metrics["request_metrics"]["failure_total"], 0);
    assert_eq!(metrics["throughput_metrics"]["prompt_tokens_total"], 100);
    assert_eq!(metrics["throughput_metrics"]["generation_tokens_total"], 5);
    assert!(metrics["request_metrics"]["time_to_first_token_seconds"].as_f64().unwrap() > 0.0);
    assert_eq!(metrics["gpu_metrics"]["num_requests_running"], 0.0);
    // The page says nothing of the device's memory: unknown, not 0.
    assert!(metrics["gpu_metrics"]["memory_usage_bytes"].is_null());
    let (_, history) = served.get("/api/v1/history/one").await;
    assert_eq!(history.as_array().unwrap().len(), 1);
    assert_eq!(history[0]["request_metrics"], metrics["request_metrics"]);
    assert_eq!(served.get("/api/v1/history/one?hours=0").await.1, json!([]));
    assert_eq!(served.get("/api/v1/history/one?limit=-1").await.1, json!([]));
    assert_eq!(served.get("/api/v1/history/another").await.1, json!([]));
}

#[tokio::test]
async fn only_this_machine_and_declared_deployments_are_read() {
    let served = Served::start().await;
    let engine = Local::engine().await;
    let away = format!("http://{}/metrics", engine.address);
    let redirecting = Router::new().route("/metrics", get(async move || Redirect::to(&away)));
    let redirecting = Local::of(redirecting).await;
    for endpoint in [
        "http://169.254.169.254/latest/meta-data",
        "http://[fe80::1]/metrics",
        "http://[::ffff:169.254.169.254]/metrics",
        "http://0.0.0.0:8000/metrics",
        "http://10.0.0.1/metrics",
        "http://192.168.0.1:8000/metrics",
        "http://2852039166/metrics",
        &redirecting.url(),
    ] {
        let body = json!({"instance_id": "one", "endpoint": endpoint, "timeout": 2});
        let (status, refused) = served.post("/api/v1/collect/vllm", body).await;
        assert_eq!((status, &refused["success"]), (200, &json!(false)), "{endpoint}: {refused}");
        let error = refused["error"].as_str().unwrap();
        let said = error.contains("no host that may be called") || error.contains("answers 303");
        assert!(said, "{endpoint}: {error}");
    }
    for endpoint in ["file:///etc/passwd", "gopher://127.0.0.1", "http://a:b@127.0.0.1/", "x"] {
        let body = json!({"instance_id": "one", "endpoint": endpoint});
        let (status, refused) = served.post("/api/v1/collect/vllm", body).await;
        assert_eq!((status, &refused["invalid_fields"]), (422, &json!(["body.endpoint"])));
    }
    // What a server says that is no engine is not passed on.
    let secret = Local::of(Router::new().route("/metrics", get(async || "token=s3cret"))).await;
    let body = json!({"instance_id": "one", "endpoint": secret.url()});
    let (_, refused) = served.post("/api/v1/collect/vllm", body).await;
    assert!(!refused.to_string().contains("s3cret"), "{refused}");
}

#[tokio::test]
async fn a_deployment_and_an_undeclared_server_are_analysed() {
    let served = Served::start().await;
    let engine = Local::engine().await;
    let deployment = name(&served).await;
    for instance in [&deployment, &engine.address] {
        let body = json!({"instance_id": instance, "instance_type": "vllm"});
        let (status, analysis) = served.post("/api/v1/analyze", body).await;
        assert_eq!(status, 200, "{analysis}");
        assert_eq!(analysis["instance_id"], **instance);
        assert_eq!(analysis["instance_type"], "vllm");
        has(&analysis, &["timestamp", "bottlenecks", "recommendations", "overall_health_score"]);
    }
    let slo = json!({
        "name": "TTFT", "metric": "request_metrics.time_to_first_token_seconds",
        "target_value": 0.1, "comparison": "<",
    });
    let unknown = json!({
        "name": "?", "metric": "request_metrics.happiness", "target_value": 1, "comparison": ">",
    });
    let body =
        json!({"instance_id": deployment, "instance_type": "vllm", "slo_targets": [slo, unknown]});
    let (status, analysis) = served.post("/api/v1/analyze", body).await;
    assert_eq!(status, 200, "{analysis}");
    let statuses = analysis["slo_statuses"].as_array().unwrap();
    assert_eq!(statuses.len(), 2);
    let (_, seen) = served.get("/metrics/latency").await;
    let current = statuses[0]["current_value"].as_f64().unwrap();
    assert!((current * 1000.0 - seen["ttft"]["mean_ms"].as_f64().unwrap()).abs() < 1e-6);
    // The default fleet is mistuned: its users wait, and the rules know why.
    assert_eq!(statuses[0]["is_compliant"], false, "{analysis}");
    assert!(analysis["overall_health_score"].as_f64().unwrap() < 100.0);
    let target = json!({"metric": "ttft", "statistic": "mean", "max_ms": 100.0});
    let (_, own) = served.post("/analyze", json!({"targets": [target]})).await;
    match own["diagnosis"]["bottleneck"].as_str().unwrap() {
        "none" | "unknown" => assert_eq!(analysis["bottlenecks"], json!([]), "{own}"),
        _ => assert_eq!(
            analysis["bottlenecks"][0]["description"], own["diagnosis"]["explanation"],
            "{analysis}"
        ),
    }
    assert!(statuses[1]["current_value"].is_null() && statuses[1]["is_compliant"].is_null());
    let body = json!({"instance_id": deployment, "instance_type": "invalid"});
    assert_eq!(served.post("/api/v1/analyze", body).await.0, 400);
    let body = json!({"instance_id": "127.0.0.1:9", "instance_type": "vllm"});
    assert_eq!(served.post("/api/v1/analyze", body).await.0, 500);
}

#[tokio::test]
async fn optimizations_come_from_the_search() {
    let served = Served::start().await;
    let engine = Local::engine().await;
    let deployment = name(&served).await;
    let body = json!({
        "instance_id": deployment, "instance_type": "vllm", "current_config": {},
        "constraints": {"max_ttft_ms": 300, "max_happiness": 3},
    });
    let (status, found) = served.post("/api/v1/optimize", body).await;
    assert_eq!(status, 200, "{found}");
    let first = &found["optimizations"][0];
    assert!(!first["config_changes"].as_array().unwrap().is_empty(), "{found}");
    let said = first["estimated_improvement"].as_str().unwrap();
    assert!(said.starts_with("simulated: TTFT p95 -"), "{said}");
    assert_eq!(found["estimated_total_improvement"], said);
    assert_eq!(found["ignored"], json!(["constraints.max_happiness"]));
    assert_eq!(found["priority_order"][0], first["title"]);
    // Of a server that nobody declared no model is known: nothing is simulated, so nothing is claimed.
    let body = json!({
        "instance_id": engine.address, "instance_type": "vllm", "current_config": {"max_num_seqs": 4},
    });
    let (status, found) = served.post("/api/v1/optimize", body).await;
    assert_eq!(status, 200, "{found}");
    assert!(found["estimated_total_improvement"].is_null(), "{found}");
    let body = json!({"instance_id": deployment, "instance_type": "invalid"});
    assert_eq!(served.post("/api/v1/optimize", body).await.0, 400);
}

#[tokio::test]
async fn a_workflow_waits_for_approval_and_then_improves_the_deployment() {
    let limits = "deployments: [{launcher: simulated, world: {limits: {ttft_p95_ms: 300}}}]";
    let config = ConfigFile::parse("test", limits).unwrap();
    let served = Served::of(Settings { config, ..settings("memory:") }).await;
    let deployment = name(&served).await;
    let body = json!({"instance_id": deployment, "instance_type": "vllm"});
    let (status, started) = served.post("/api/v1/workflows", body).await;
    assert_eq!(status, 201, "{started}");
    let id = started["workflow_id"].as_str().unwrap().to_owned();
    let asked = until(&served, &id, &["awaiting_approval", "completed", "failed"]).await;
    assert_eq!(asked["status"], "awaiting_approval", "{asked}");
    assert!(asked["approved"].is_null() && asked["rollout_history"] == json!([]), "{asked}");
    assert!(!asked["optimization_plan"]["optimizations"].as_array().unwrap().is_empty());
    assert!(asked["analysis_result"]["diagnosis"]["bottleneck"].is_string());
    let (status, approved) =
        served.post(&format!("/api/v1/workflows/{id}/approve?approved_by=admin"), json!({})).await;
    assert_eq!((status, &approved["status"]), (200, &json!("approved")), "{approved}");
    assert_eq!((&approved["approved"], &approved["approved_by"]), (&json!(true), &json!("admin")));
    let done = until(&served, &id, &["completed", "failed", "rolled_back"]).await;
    assert_eq!(done["status"], "completed", "{done}");
    assert_eq!(done["current_stage"], "100%");
    assert!(done["rollout_history"].as_array().unwrap().len() > 1);
    assert!(done["applied_config"].is_object() && done["original_config"].is_object(), "{done}");
    assert!(done["total_improvement"].as_f64().unwrap() > 0.0, "{done}");
    assert!(done["final_health_score"].as_f64().is_some(), "{done}");
    let (_, completed) = served.get("/api/v1/workflows?status=completed").await;
    assert_eq!(completed[0]["workflow_id"], *id);
    assert_eq!(served.get("/api/v1/workflows?status=unheard_of").await.1, json!([]));
    let again = served.post(&format!("/api/v1/workflows/{id}/reject"), json!({})).await;
    assert_eq!(again.0, 409);
}

#[tokio::test]
async fn a_decision_made_before_the_question_is_passed_on_when_it_comes() {
    let served = Served::start().await;
    let deployment = name(&served).await;
    let body = json!({"instance_id": deployment, "instance_type": "vllm"});
    let (_, started) = served.post("/api/v1/workflows", body).await;
    let id = started["workflow_id"].as_str().unwrap().to_owned();
    let (status, rejected) =
        served.post(&format!("/api/v1/workflows/{id}/reject"), json!({"reason": "no"})).await;
    assert_eq!((status, &rejected["status"]), (200, &json!("rejected")), "{rejected}");
    assert_eq!(rejected["approved"], false);
    let over = loop {
        let (_, runs) = served.get("/optimize/history").await;
        // Null until the run is begun.
        let open = [json!(null), json!("running"), json!("interrupted")];
        if !open.contains(&runs[0]["status"]) {
            break runs[0].clone();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(over["status"], "no_change", "{over}");
    let (_, state) = served.get(&format!("/api/v1/workflows/{id}")).await;
    assert_eq!((&state["status"], &state["rollout_history"]), (&json!("rejected"), &json!([])));
}

#[tokio::test]
async fn a_workflow_for_what_is_no_deployment_fails_and_says_why() {
    let served = Served::start().await;
    let body = json!({"instance_id": "localhost:8000", "instance_type": "vllm"});
    let (status, failed) = served.post("/api/v1/workflows", body).await;
    assert_eq!((status, &failed["status"]), (201, &json!("failed")), "{failed}");
    assert!(failed["error_message"].as_str().unwrap().contains("no declared deployment"));
    let id = failed["workflow_id"].as_str().unwrap();
    assert_eq!(served.get(&format!("/api/v1/workflows/{id}")).await, (200, failed.clone()));
    let (status, approved) =
        served.post(&format!("/api/v1/workflows/{id}/approve?approved_by=admin"), json!({})).await;
    // On record, and nothing comes of it.
    assert_eq!((status, &approved["approved_by"]), (200, &json!("admin")), "{approved}");
    assert_eq!(served.post("/api/v1/workflows/nobody/approve", json!({})).await.0, 404);
    assert_eq!(served.post("/api/v1/workflows/nobody/reject", json!({})).await.0, 404);
}

#[tokio::test]
async fn this_process_own_metrics_are_where_the_seeds_were() {
    let served = Served::start().await;
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
    let url = format!("{}/api/v1/metrics", served.base);
    let response = client.build().unwrap().get(url).send().await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["location"]),
        (307, &"/metrics".parse().unwrap())
    );
    assert!(served.text("/api/v1/metrics").await.contains("perf_agent_build_info"));
}

#[tokio::test]
async fn who_is_kept_out_reads_it_in_the_seeds_shape() {
    let security = SecurityOptions { rate_rps: 1.0, ..SecurityOptions::default() };
    let keyed = Keyed::with(settings("memory:"), security).await;
    let ask = async |key: Option<&str>, method: &str, path: &str| {
        let url = format!("{}{path}", keyed.served.base);
        let request = keyed.served.client.request(method.parse().unwrap(), url);
        let request = key.iter().fold(request, |request, key| request.bearer_auth(key));
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        (status, headers, response.json::<Value>().await.unwrap())
    };
    let read = Some(keyed.secret(Scope::Read));
    let (status, headers, refused) = ask(None, "GET", "/api/v1/workflows").await;
    assert_eq!((status, &refused["error"]), (401, &json!("http_401")), "{refused}");
    assert_eq!(headers["www-authenticate"], "Bearer");
    has(&refused, &["message", "details", "timestamp", "path", "request_id"]);
    let (status, _, refused) = ask(read, "POST", "/api/v1/workflows").await;
    assert_eq!((status, &refused["error"]), (403, &json!("http_403")), "{refused}");
    assert_eq!(refused["path"], "/api/v1/workflows");
    assert_eq!(ask(read, "GET", "/api/v1/workflows").await.0, 200);
    let (status, headers, refused) = ask(read, "GET", "/api/v1/workflows").await;
    assert_eq!((status, &refused["error"]), (429, &json!("http_429")), "{refused}");
    assert!(headers.contains_key("retry-after"));
}

#[tokio::test]
async fn the_hundredth_answer_is_as_good_as_the_first() {
    let served = Served::start().await;
    for path in ["health", "config", "capabilities", "workflows"] {
        let began = Instant::now();
        let first = served.get(&format!("/api/v1/{path}")).await;
        assert_eq!(first.0, 200, "{path}: {}", first.1);
        for _ in 0..99 {
            let (status, body) = served.get(&format!("/api/v1/{path}")).await;
            assert_eq!(status, 200, "{path}: {body}");
            // Health tells the time.
            assert!(path == "health" || body == first.1, "{path}: {body}");
        }
        println!("{path}: {:.1?} for a hundred", began.elapsed());
    }
}
