//! Whom the server can be made to call.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::http::{StatusCode, header};
use axum::routing::any;
use perf_agent::agent::Settings;
use perf_agent::api::{Outbound, Resolve, SecurityOptions};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::api::support::{Served, settings};

/// Somebody inside who must not be called.
struct Inside(TcpListener);

impl Inside {
    async fn new() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    fn port(&self) -> u16 {
        self.0.local_addr().unwrap().port()
    }

    /// Nobody has knocked, and nobody does while the server has time to.
    async fn was_left_alone(&self) {
        let knocked = tokio::time::timeout(Duration::from_millis(200), self.0.accept()).await;
        assert!(knocked.is_err(), "somebody called");
    }
}

fn graphs() -> Settings {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/graphs");
    Settings { prompts: Some(folder.join("prompts")), graphs: Some(folder), ..settings("memory:") }
}

fn run(webhook: &str) -> Value {
    json!({"assistant_id": "trivial", "input": {"n": 1}, "webhook": webhook})
}

#[tokio::test]
async fn an_address_inside_is_no_webhook() {
    let served = Served::with_test_graphs("memory:").await;
    let inside = Inside::new().await;
    let port = inside.port();
    for host in
        ["127.0.0.1", "2130706433", "0x7f000001", "127.1", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0"]
    {
        let url = format!("http://{host}:{port}/");
        for path in ["/runs", "/runs/wait", "/runs/stream"] {
            let (status, problem) = served.post(path, run(&url)).await;
            assert_eq!(status, 422, "{path} {url}: {problem}");
        }
        let cron = json!({"assistant_id": "trivial", "schedule": "* * * * *", "webhook": url});
        assert_eq!(served.post("/runs/crons", cron).await.0, 422);
    }
    for url in ["file:///etc/passwd", "gopher://127.0.0.1/", "http://u:p@example.org/", "//x", ""] {
        assert_eq!(served.post("/runs", run(url)).await.0, 422, "{url}");
    }
    inside.was_left_alone().await;
}

/// A name that means whatever it is told to, and how often it was asked for.
struct Names {
    answers: Vec<&'static str>,
    asked: AtomicUsize,
}

#[async_trait]
impl Resolve for Names {
    async fn resolve(&self, _: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let all = self.answers.iter().map(|address| address.parse().unwrap());
        Ok(all.map(|address| SocketAddr::new(address, port)).collect())
    }
}

#[tokio::test]
async fn a_name_that_means_an_address_inside_is_not_called() {
    for answers in
        [vec!["127.0.0.1"], vec!["1.1.1.1", "127.0.0.1"], vec!["::1"], vec!["169.254.169.254"]]
    {
        let names = Arc::new(Names { answers, asked: AtomicUsize::new(0) });
        let outbound = Outbound::new(Vec::new()).resolving_with(names.clone());
        let security = SecurityOptions { outbound, ..SecurityOptions::default() };
        let served = Served::safe(graphs(), security).await;
        let inside = Inside::new().await;
        let url = format!("http://rebound.example:{}/hook", inside.port());
        let (status, output) = served.post("/runs/wait", run(&url)).await;
        assert_eq!(status, 200, "{output}");
        while names.asked.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        inside.was_left_alone().await;
        assert_eq!(names.asked.load(Ordering::SeqCst), 1, "given up, not tried again");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let inside = Inside::new().await;
    let target = format!("http://127.0.0.1:{}/", inside.port());
    let (knocked, mut knocks) = tokio::sync::mpsc::unbounded_channel();
    let lead = move || {
        let _ = knocked.send(());
        let target = target.clone();
        async move { (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, target)]) }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let router = Router::new().fallback(any(lead));
    tokio::spawn(async move { axum::serve(listener, router).await });
    // The first host was allowed by whoever runs this; where it leads to was not.
    let outbound = Outbound::new(vec!["127.0.0.1".to_owned()]);
    let security = SecurityOptions { outbound, ..SecurityOptions::default() };
    let served = Served::safe(graphs(), security).await;
    let (status, _) = served.post("/runs/wait", run(&format!("http://127.0.0.1:{port}/"))).await;
    assert_eq!(status, 200);
    knocks.recv().await.unwrap();
    inside.was_left_alone().await;
}

#[tokio::test]
async fn an_endpoint_in_a_request_is_not_called() {
    let served = Served::start().await;
    let inside = Inside::new().await;
    let url = format!("http://127.0.0.1:{}", inside.port());
    let goal = format!("make {url}/metrics faster, p95 TTFT under 300 ms");
    for (path, body) in [
        ("/optimize", json!({"goal": "p95 TTFT under 300 ms", "endpoint": url})),
        ("/optimize", json!({"goal": "p95 TTFT under 300 ms", "deployment": url})),
        ("/optimize", json!({"goal": goal})),
        ("/analyze", json!({"deployment": url})),
        ("/analyze", json!({"endpoints": [url]})),
        ("/metrics/collect", json!({"deployment": url})),
        ("/test/validate", json!({"deployment": url, "config": {}})),
        ("/test/run", json!({"proposal": {"deployment": url, "config": {}}, "objective": {}})),
        ("/graphs/check", json!({"text": format!("schema: {url}/graph.json")})),
    ] {
        let (status, answer) = served.post(path, body.clone()).await;
        assert!(status < 500, "{path} {body}: {answer}");
    }
    for path in ["/deployments", "/metrics/latency", "/metrics/history"] {
        let query = format!("{path}?deployment={url}&endpoint={url}");
        let (status, answer) = served.get(&query).await;
        assert!(status < 500, "{query}: {answer}");
    }
    inside.was_left_alone().await;
}
