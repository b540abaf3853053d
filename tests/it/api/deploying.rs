//! Deployments that are added over HTTP: watched like those of the config file, kept, guarded, and never a way to run something.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::http::{StatusCode, header};
use axum::routing::any;
use perf_agent::agent::{ConfigFile, Settings};
use perf_agent::api::{Outbound, Resolve, Scope, SecurityOptions};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::support::{GOAL, Keyed, Served, agent, engine, settings};

/// A server with one declared deployment, which does not answer.
fn real(store: &str) -> Settings {
    let text = "deployments:\n  - { launcher: external, name: declared, engine: vllm, served_model: m, \
                endpoints: ['http://127.0.0.1:9'] }\n";
    Settings { config: ConfigFile::parse("config", text).unwrap(), ..settings(store) }
}

fn deployment(name: &str, url: &str) -> Value {
    json!({"name": name, "engine": "vllm", "endpoints": [url], "served_model": "m"})
}

async fn names(served: &Served) -> Vec<String> {
    let (_, all) = served.get("/deployments").await;
    let name = |one: &Value| one["deployment"]["name"].as_str().unwrap().to_owned();
    all.as_array().unwrap().iter().map(name).collect()
}

#[tokio::test]
async fn an_added_deployment_is_observed_and_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", folder.path().join("runs.db").display());
    let url = engine().await;
    let served = Served::of(real(&store)).await;
    let mut asked = deployment("added", &url);
    asked["launcher"] = json!("external");
    asked["limits"] = json!({"ttft_p95_ms": 400.0});
    let (status, added) = served.post("/deployments", asked).await;
    assert_eq!(status, 201, "{added}");
    assert_eq!(added["deployment"]["limits"]["ttft_p95_ms"], 400.0);
    assert_eq!((&added["can_try"], &added["can_roll_out"]), (&json!(false), &json!(false)));
    assert_eq!(names(&served).await, ["added", "declared"]);
    let (status, seen) = served.get("/deployments/added/observation?window_s=10").await;
    assert_eq!(status, 200, "{seen}");
    assert_eq!((&seen["deployment"], &seen["engine"]), (&json!("added"), &json!("vllm")));
    served.stop().await;

    let served = Served::of(real(&store)).await;
    assert_eq!(names(&served).await, ["added", "declared"]);
    let (_, kept) = served.get("/deployments/added").await;
    assert_eq!(kept, added);
    assert_eq!(served.delete("/deployments/added").await, 204);
    assert_eq!(names(&served).await, ["declared"]);
    served.stop().await;
    let served = Served::of(real(&store)).await;
    assert_eq!(names(&served).await, ["declared"]);
}

#[tokio::test]
async fn a_goal_for_an_added_deployment_is_understood() {
    let served = Served::of(real("memory:")).await;
    let url = engine().await;
    assert_eq!(served.post("/deployments", deployment("added", &url)).await.0, 201);
    let thread = served.optimize(json!({"goal": GOAL, "deployment": "added"})).await;
    let objective = loop {
        let (_, state) = served.get(&format!("/threads/{thread}/state")).await;
        if state["values"]["objective"].is_object() {
            break state["values"]["objective"].clone();
        }
        let (_, result) = served.get(&format!("/optimize/{thread}")).await;
        assert_eq!(result["status"], "running", "{result}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert_eq!(objective["deployment"], "added");
}

#[tokio::test]
async fn an_added_deployment_is_changed_by_its_name_and_a_declared_one_is_not() {
    let served = Served::of(real("memory:")).await;
    let url = "http://127.0.0.1:9";
    assert_eq!(served.post("/deployments", deployment("added", url)).await.0, 201);
    let (status, problem) = served.post("/deployments", deployment("added", url)).await;
    assert_eq!((status, &problem["code"]), (409, &json!("agent.deployment_exists")), "{problem}");
    let mut other = deployment("added", url);
    other["served_model"] = json!("other");
    other.as_object_mut().unwrap().remove("name");
    let (status, changed) = served.send("PUT", "/deployments/added", other.clone()).await;
    assert_eq!((status, &changed["deployment"]["served_model"]), (200, &json!("other")));
    assert_eq!(served.get("/deployments/added").await.1, changed);
    let (status, problem) = served.send("PUT", "/deployments/nobody", other).await;
    assert_eq!((status, &problem["code"]), (404, &json!("tools.unknown_deployment")));
    let (status, problem) = served.send("PUT", "/deployments/added", deployment("x", url)).await;
    assert_eq!((status, &problem["code"]), (422, &json!("api.invalid_request")));
    for (method, body) in [("PUT", deployment("declared", url)), ("DELETE", json!(null))] {
        let (status, problem) = served.send(method, "/deployments/declared", body).await;
        assert_eq!((status, &problem["code"]), (409, &json!("agent.declared")), "{problem}");
    }
    assert_eq!(served.send("DELETE", "/deployments/nobody", json!(null)).await.0, 404);
    assert_eq!(names(&served).await, ["added", "declared"]);
}

#[tokio::test]
async fn nothing_that_a_caller_says_is_started() {
    let served = Served::of(real("memory:")).await;
    let folder = tempfile::tempdir().unwrap();
    let made = folder.path().join("made");
    for launcher in ["process", "simulated", "docker", ""] {
        let mut body = deployment("evil", "http://127.0.0.1:9");
        body["launcher"] = json!(launcher);
        body["program"] = json!("/usr/bin/touch");
        body["args"] = json!([made]);
        body["state_dir"] = json!(folder.path());
        body["config"] = json!({});
        let (status, problem) = served.post("/deployments", body).await;
        assert_eq!((status, &problem["code"]), (403, &json!("api.launcher_refused")), "{problem}");
    }
    let mut body = deployment("evil", "http://127.0.0.1:9");
    body["program"] = json!("/usr/bin/touch");
    let (status, problem) = served.post("/deployments", body).await;
    assert_eq!((status, &problem["code"]), (422, &json!("api.invalid_body")), "{problem}");
    assert!(!made.exists());
    assert_eq!(names(&served).await, ["declared"]);
}

#[tokio::test]
async fn what_no_deployment_has_is_refused() {
    let served = Served::of(real("memory:")).await;
    let url = "http://127.0.0.1:9";
    let with = |field: &str, value: Value| {
        let mut body = deployment("added", url);
        body[field] = value;
        body
    };
    for (body, code) in [
        (with("name", json!("../x")), "agent.invalid_deployment"),
        (with("name", json!("")), "agent.invalid_deployment"),
        (with("endpoints", json!([])), "agent.invalid_deployment"),
        (with("endpoints", json!(vec![url; 65])), "agent.invalid_deployment"),
        (with("gpus", json!(0)), "agent.invalid_deployment"),
        (with("limits", json!({"ttft_p95_ms": -1})), "agent.invalid_deployment"),
        (with("model", json!("no such model")), "agent.not_in_catalogue"),
        (with("engine", json!("ollama")), "api.invalid_body"),
        (json!([]), "api.invalid_body"),
    ] {
        let (status, problem) = served.post("/deployments", body.clone()).await;
        assert_eq!((status, problem["code"].as_str().unwrap()), (422, code), "{body}: {problem}");
    }
    assert_eq!(names(&served).await, ["declared"]);
    let simulated = Served::start().await;
    let (status, problem) = simulated.post("/deployments", deployment("added", url)).await;
    assert_eq!((status, &problem["code"]), (409, &json!("agent.simulated_fleet")), "{problem}");
}

#[tokio::test]
async fn an_endpoint_inside_is_refused_however_it_is_written() {
    let served = Served::of(real("memory:")).await;
    for url in [
        "http://169.254.169.254",
        "http://10.0.0.1:8000",
        "http://192.168.1.1",
        "http://0.0.0.0:8000",
        "http://[fe80::1]",
        "http://100.100.100.200",
        "http://[::ffff:169.254.169.254]",
        "http://1.1.1.1",
        "file:///etc/passwd",
        "gopher://127.0.0.1/",
        "http://user:secret@127.0.0.1",
        "http://127.0.0.1:9/?path=x",
        "http://127.0.0.1:9/metrics",
        "not a url",
        "",
    ] {
        let (status, problem) = served.post("/deployments", deployment("added", url)).await;
        assert_eq!((status, &problem["code"]), (422, &json!("api.invalid_endpoint")), "{url}");
    }
    assert_eq!(names(&served).await, ["declared"]);
}

/// A name that is this machine at first, and an address inside from the second question on.
struct Rebinding(Mutex<Vec<&'static str>>);

#[async_trait]
impl Resolve for Rebinding {
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let mut answers = self.0.lock().unwrap();
        let address = match host {
            "rebinding.example" if answers.len() > 1 => answers.remove(0),
            "rebinding.example" => answers[0],
            other => other,
        };
        Ok(vec![SocketAddr::new(address.parse().unwrap(), port)])
    }
}

#[tokio::test]
async fn every_look_passes_the_guard_anew_and_follows_no_redirect() {
    let outside = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = format!("http://{}/secret", outside.local_addr().unwrap());
    let looked = Arc::new(AtomicUsize::new(0));
    let (count, address) = (looked.clone(), to.clone());
    let moved = any(async move || {
        count.fetch_add(1, Ordering::SeqCst);
        (StatusCode::FOUND, [(header::LOCATION, address)], "words of the server")
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(moved)).await });
    let resolver = Arc::new(Rebinding(Mutex::new(vec!["127.0.0.1", "169.254.169.254"])));
    let outbound = Outbound::new(Vec::new()).resolving_with(resolver);
    let security = SecurityOptions { outbound, ..SecurityOptions::default() };
    let served = Served::by(agent(real("memory:")).await, security).await;
    let moving = deployment("moving", &format!("http://127.0.0.1:{port}"));
    assert_eq!(served.post("/deployments", moving).await.0, 201);
    let rebinding = deployment("rebinding", &format!("http://rebinding.example:{port}"));
    assert_eq!(served.post("/deployments", rebinding).await.0, 201);
    let (moving, rebinding) = tokio::join!(
        served.get("/deployments/moving/observation?window_s=10"),
        served.get("/deployments/rebinding/observation?window_s=10"),
    );
    let (status, problem) = moving;
    assert_eq!(status, 502, "{problem}");
    assert!(!problem.to_string().contains("words of the server"), "{problem}");
    let (status, problem) = rebinding;
    assert_eq!(status, 502, "{problem}");
    assert!(
        problem["detail"].as_str().unwrap().contains("no host that may be called"),
        "{problem}"
    );
    assert!(looked.load(Ordering::SeqCst) >= 1);
    let knocked = tokio::time::timeout(Duration::from_millis(200), outside.accept()).await;
    assert!(knocked.is_err(), "a redirect was followed");
}

#[tokio::test]
async fn a_deployment_with_a_rollout_stays_until_that_is_over() {
    let agent = agent(real("memory:")).await;
    let documents = agent.documents().clone();
    let served = Served::by(agent, SecurityOptions::default()).await;
    assert_eq!(served.post("/deployments", deployment("added", "http://127.0.0.1:9")).await.0, 201);
    // As a rollout locks it.
    let lock = json!({"rollout": "r1"});
    documents.put("locks", "this host/added", Some(0), lock).await.unwrap();
    let (status, problem) = served.send("DELETE", "/deployments/added", json!(null)).await;
    assert_eq!((status, &problem["code"]), (409, &json!("agent.deployment_busy")), "{problem}");
    documents.put("locks", "this host/added", None, json!({"rollout": null})).await.unwrap();
    assert_eq!(served.delete("/deployments/added").await, 204);
}

#[tokio::test]
async fn adding_needs_admin_and_is_noted() {
    let keyed = Keyed::with(real("memory:"), SecurityOptions::default()).await;
    for scope in Scope::ALL {
        let body = deployment("added", "http://127.0.0.1:9");
        let (status, _) = keyed.post(scope, "/deployments", body).await;
        assert_eq!(status, if scope == Scope::Admin { 201 } else { 403 }, "{scope}");
    }
    let (_, entries) = keyed.get(Scope::Admin, "/audit?limit=1").await;
    assert_eq!(
        (&entries[0]["what"], &entries[0]["status"]),
        (&json!("POST /deployments"), &json!(201))
    );
}
