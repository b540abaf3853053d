//! The orchestrator's contract, against one that follows it to the letter, odd answers included.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use perf_agent::agent::{Agent, ConfigFile, Settings};
use perf_agent::api::{McpAccess, OrchestratorOptions, SecurityOptions, Server, ServerOptions};
use perf_agent::base::{Clock, Millis};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::support::{GOAL, Served, settings};

/// Time that the test lets pass, sleep by sleep.
struct Steps {
    now: Mutex<Millis>,
    slept: mpsc::UnboundedSender<u64>,
    allowed: Semaphore,
}

#[async_trait]
impl Clock for Steps {
    fn now(&self) -> Millis {
        *self.now.lock().unwrap()
    }

    async fn sleep_until(&self, at: Millis) {
        let _ = self.slept.send(at.since(self.now()));
        self.allowed.acquire().await.unwrap().forget();
        *self.now.lock().unwrap() = at;
    }
}

type Script = Arc<Mutex<VecDeque<(u16, &'static str)>>>;

/// An orchestrator that answers by a script, and 200 without a body after it.
pub(super) struct Fake {
    pub(super) url: String,
    heard: mpsc::UnboundedReceiver<(String, Value)>,
    serving: JoinHandle<()>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Fake {
    pub(super) async fn start(script: &[(u16, &'static str)]) -> Self {
        Self::at("127.0.0.1:0", script).await
    }

    async fn at(address: &str, script: &[(u16, &'static str)]) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (sender, heard) = mpsc::unbounded_channel();
        let script: Script = Arc::new(Mutex::new(script.iter().copied().collect()));
        let router = Router::new().fallback(answer).with_state((sender, script));
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, heard, serving }
    }

    /// Whether nobody has called since.
    pub(super) fn is_quiet(&mut self) -> bool {
        self.heard.try_recv().is_err()
    }

    /// The next call: its path and body.
    pub(super) async fn next(&mut self) -> (String, Value) {
        within(self.heard.recv()).await.unwrap()
    }
}

async fn answer(
    State((heard, script)): State<(mpsc::UnboundedSender<(String, Value)>, Script)>,
    uri: Uri,
    body: String,
) -> (StatusCode, &'static str) {
    let _ = heard.send((uri.path().to_owned(), serde_json::from_str(&body).unwrap()));
    let (status, body) = script.lock().unwrap().pop_front().unwrap_or((200, ""));
    (StatusCode::from_u16(status).unwrap(), body)
}

pub(super) async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what).await.unwrap()
}

/// A server that reports to an orchestrator.
pub(super) struct Reporting {
    base: String,
    clock: Arc<Steps>,
    pub(super) slept: mpsc::UnboundedReceiver<u64>,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

impl Reporting {
    pub(super) async fn to(url: &str, prefix: &str) -> Self {
        Self::with(settings("memory:"), url, prefix).await
    }

    async fn with(settings: Settings, url: &str, prefix: &str) -> Self {
        let agent = Agent::shared(settings, "serve").await.unwrap();
        let listen = "127.0.0.1:0".parse().unwrap();
        let server = Server::bind(
            agent,
            ServerOptions {
                listen,
                config: None,
                mcp: McpAccess::default(),
                security: SecurityOptions::default(),
            },
        )
        .await
        .unwrap();
        let (sender, slept) = mpsc::unbounded_channel();
        let now = Mutex::new(Millis(1_000_000));
        let clock = Arc::new(Steps { now, slept: sender, allowed: Semaphore::new(0) });
        let server = server.reporting_to(OrchestratorOptions {
            url: url.to_owned(),
            prefix: prefix.to_owned(),
            name: "tuner".to_owned(),
            host: Some("tuner.example".to_owned()),
            clock: clock.clone(),
            seed: 1,
        });
        let base = format!("http://{}", server.listen());
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        let serving = tokio::spawn(async move { server.serve(stopped).await.unwrap() });
        Self { base, clock, slept, stop, serving }
    }

    /// How long it wants to wait [ms]; the time then passes.
    pub(super) async fn waits(&mut self) -> u64 {
        let ms = within(self.slept.recv()).await.unwrap();
        self.clock.allowed.add_permits(1);
        ms
    }

    /// What health says of the orchestrator.
    pub(super) async fn check(&self) -> Value {
        let health = reqwest::get(format!("{}/health/detailed", self.base)).await.unwrap();
        let health: Value = health.json().await.unwrap();
        let checks = health["checks"].as_array().unwrap();
        checks.iter().find(|check| check["name"] == "orchestrator").unwrap().clone()
    }

    pub(super) async fn stop(self) {
        self.stop.cancel();
        within(self.serving).await.unwrap();
    }
}

pub(super) const REGISTERED: (u16, &str) = (
    201,
    r#"{"agent_id":"a1","registered_at":"2026-01-01T00:00:00Z","heartbeat_url":"/agents/zz/heartbeat","heartbeat_interval_seconds":30}"#,
);

#[tokio::test]
async fn it_registers_beats_at_the_interval_it_is_told_and_takes_leave() {
    let beat = (200, r#"{"status":"ok","next_interval_seconds":12}"#);
    let mut fake = Fake::start(&[REGISTERED, beat]).await;
    let mut server = Reporting::to(&fake.url, "/api/v1").await;
    let (path, introduced) = fake.next().await;
    assert_eq!(path, "/api/v1/agents/register");
    assert_eq!(introduced["name"], "tuner");
    assert_eq!(
        (&introduced["type"], &introduced["host"]),
        (&json!("performance"), &json!("tuner.example"))
    );
    assert_eq!(introduced["capabilities"], json!(["optimize_kv_cache", "tune_inference"]));
    assert!(server.base.ends_with(&format!(":{}", introduced["port"])), "{introduced}");
    assert_eq!(server.waits().await, 0);
    let (path, beat) = fake.next().await;
    assert_eq!(
        (path.as_str(), &beat["status"]),
        ("/api/v1/agents/a1/heartbeat", &json!("healthy"))
    );
    assert_eq!(server.waits().await, 12_000);
    fake.next().await;
    // The last answer named no interval: the one before holds.
    assert_eq!(within(server.slept.recv()).await, Some(12_000));
    assert_eq!(server.check().await["ok"], true);
    server.stop().await;
    assert_eq!(fake.next().await.0, "/api/v1/agents/a1/unregister");
}

#[tokio::test]
async fn an_agent_whose_deployment_does_not_answer_says_that_it_is_degraded() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let text = format!(
        "deployments: [{{ launcher: external, name: gone, engine: vllm, served_model: m, endpoints: [\"{gone}\"] }}]"
    );
    let config = ConfigFile::parse("test", &text).unwrap();
    let mut fake = Fake::start(&[REGISTERED]).await;
    let settings = Settings { config, ..settings("memory:") };
    let mut server = Reporting::with(settings, &fake.url, "").await;
    fake.next().await;
    server.waits().await;
    let (_, beat) = fake.next().await;
    assert_eq!(beat["status"], "degraded");
    assert_eq!(beat["metadata"]["failing"], json!(["deployment gone"]));
    server.stop().await;
}

#[tokio::test]
async fn odd_answers_are_taken_and_another_id_in_a_heartbeat_changes_nothing() {
    let mut fake = Fake::start(&[
        (200, r#"{"agent_id":7}"#),
        (200, r#"{"agent_id":"somebody else","next_interval_seconds":"soon"}"#),
        (202, "<html>"),
    ])
    .await;
    let mut server = Reporting::to(&fake.url, "").await;
    assert_eq!(fake.next().await.0, "/agents/register");
    server.waits().await;
    for _ in 0..2 {
        assert_eq!(fake.next().await.0, "/agents/7/heartbeat");
        assert_eq!(server.waits().await, 30_000);
    }
    assert_eq!(fake.next().await.0, "/agents/7/heartbeat");
    server.stop().await;
}

#[tokio::test]
async fn a_forgotten_agent_registers_anew_and_takes_the_new_id() {
    let anew = (201, r#"{"agent_id":"b2","heartbeat_interval_seconds":5}"#);
    let mut fake = Fake::start(&[REGISTERED, (200, "{}"), (404, "{}"), anew]).await;
    let mut server = Reporting::to(&fake.url, "").await;
    let paths = [
        "/agents/register",
        "/agents/a1/heartbeat",
        "/agents/a1/heartbeat",
        "/agents/register",
        "/agents/b2/heartbeat",
    ];
    let waits = [0, 30_000, 0, 0, 5_000];
    for (expected, ms) in paths.into_iter().zip(waits) {
        assert_eq!(fake.next().await.0, expected);
        assert_eq!(server.waits().await, ms, "{expected}");
    }
    server.stop().await;
}

#[tokio::test]
async fn errors_and_garbage_are_tried_again_with_longer_and_longer_pauses() {
    let mut fake =
        Fake::start(&[(500, ""), (503, "{}"), (201, "garbage"), (201, "{}"), REGISTERED]).await;
    let mut server = Reporting::to(&fake.url, "").await;
    for longest in [1_000, 2_000, 4_000, 8_000] {
        assert_eq!(fake.next().await.0, "/agents/register");
        let ms = server.waits().await;
        assert!((longest / 2..=longest).contains(&ms), "{ms} of {longest}");
    }
    fake.next().await;
    within(server.slept.recv()).await;
    assert_eq!(server.check().await["detail"], "registered as a1");
    server.stop().await;
}

#[tokio::test]
async fn an_orchestrator_that_is_not_there_yet_is_found_when_it_comes() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let mut server = Reporting::to(&format!("http://{address}"), "").await;
    for _ in 0..3 {
        server.waits().await;
    }
    let check = within(async {
        loop {
            let check = server.check().await;
            if check["detail"].as_str().unwrap().contains("does not answer") {
                return check;
            }
        }
    });
    assert_eq!(check.await["ok"], false);
    let mut fake = Fake::at(&address, &[REGISTERED]).await;
    server.waits().await;
    assert_eq!(fake.next().await.0, "/agents/register");
    server.stop().await;
}

#[tokio::test]
async fn a_400_is_the_end_and_health_shows_it() {
    let mut fake = Fake::start(&[(400, r#"{"error":"unknown type"}"#)]).await;
    let server = Reporting::to(&fake.url, "").await;
    fake.next().await;
    let check = within(async {
        loop {
            let check = server.check().await;
            if check["detail"] != "not registered yet" {
                return check;
            }
        }
    })
    .await;
    assert_eq!(check["ok"], false);
    let detail = check["detail"].as_str().unwrap();
    assert!(detail.starts_with("given up") && detail.contains("unknown type"), "{detail}");
    server.stop().await;
    assert!(fake.is_quiet(), "it was called again");
}

fn task(id: &str, parameters: Value) -> Value {
    json!({
        "task_id": id, "task_type": "tune_inference", "parameters": parameters,
        "timeout_seconds": 120, "priority": 5,
    })
}

#[tokio::test]
async fn a_task_is_done_once_and_answered_alike_ever_after() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", folder.path().join("runs.db").display());
    let served = Served::over(&store).await;
    let asked = task("t-1", json!({"approved": true, "goal": GOAL}));
    // Twice at once: one of them begins it, both are answered.
    let (one, other) =
        tokio::join!(served.post("/task", asked.clone()), served.post("/task", asked.clone()));
    assert_eq!((one.0, &one.1["status"]), (200, &json!("completed")), "{}", one.1);
    assert_eq!(one.1["task_id"], "t-1");
    assert_eq!(one.1["result"]["status"], "improved", "{}", one.1);
    assert!(one.1["execution_time_ms"].is_u64());
    assert_eq!(one.1["result"]["run_id"], other.1["result"]["run_id"]);
    let (_, runs) = served.get("/optimize/history").await;
    assert_eq!(runs.as_array().unwrap().len(), 1);
    served.stop().await;
    let served = Served::over(&store).await;
    let (status, again) = served.post("/task", asked).await;
    assert_eq!((status, &again["result"]["run_id"]), (200, &one.1["result"]["run_id"]));
    let (status, refused) = served.post("/task", task("t-1", json!({"goal": "another"}))).await;
    assert_eq!((status, &refused["code"]), (409, &json!("api.task_exists")));
    served.stop().await;
}

#[tokio::test]
async fn a_task_that_is_not_done_is_never_answered_200() {
    let served = Served::start().await;
    let (status, asked) = served.post("/task", task("ask", json!({"goal": GOAL}))).await;
    assert_eq!((status, &asked["status"]), (409, &json!("awaiting_approval")), "{asked}");
    // A person's answer lets the same task end.
    let thread = asked["thread_id"].as_str().unwrap();
    served.post(&format!("/optimize/{thread}/reject"), json!({})).await;
    let (status, done) = served.post("/task", task("ask", json!({"goal": GOAL}))).await;
    assert_eq!((status, &done["result"]["status"]), (200, &json!("no_change")), "{done}");
    let mut short = task("short", json!({"approved": true, "goal": GOAL}));
    short["task_type"] = json!("optimize_kv_cache");
    short["timeout_seconds"] = json!(0.001);
    let (status, late) = served.post("/task", short.clone()).await;
    assert_eq!((status, &late["status"]), (504, &json!("timeout")), "{late}");
    short["timeout_seconds"] = json!(120);
    let (status, done) = served.post("/task", short).await;
    assert_eq!((status, &done["status"]), (200, &json!("completed")), "{done}");
    let (status, failed) = served.post("/task", task("bad", json!({"goal": "be nice"}))).await;
    assert_ne!(status, 200, "{failed}");
    assert_eq!(failed["status"], "failed", "{failed}");
    let (status, again) = served.post("/task", task("bad", json!({"goal": "be nice"}))).await;
    assert_eq!((status, again), (status, failed));
}

#[tokio::test]
async fn a_task_that_cannot_be_begun_takes_no_id() {
    let served = Served::start().await;
    for (body, expected) in [
        (task("", json!({})), 422),
        (task("x", json!({"deployment": "nobody"})), 404),
        (task("x", json!({"approved": "yes"})), 422),
        (json!({"task_id": "x", "task_type": "make_coffee"}), 422),
        (json!({"task_id": "x", "task_type": "tune_inference", "timeout_seconds": -1}), 422),
    ] {
        let (status, problem) = served.post("/task", body).await;
        assert_eq!(status, expected, "{problem}");
    }
    // Without a goal: the deployment's own limits, or to be faster. Whatever comes of it is told.
    let (status, ended) = served.post("/task", task("x", json!({"approved": true}))).await;
    assert_eq!((status, &ended["status"]), (200, &json!("completed")), "{ended}");
    assert!(ended["result"]["objective"].is_object(), "{ended}");
}
