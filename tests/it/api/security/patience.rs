//! What no caller may take more of: time, room, connections.

use std::time::Duration;

use perf_agent::agent::{ConfigFile, Settings};
use perf_agent::api::{Limits, Scope, SecurityOptions};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::api::support::{GOAL, Keyed, Served, settings};

fn within(limits: Limits) -> SecurityOptions {
    SecurityOptions { limits, rate_rps: 1e6, ..SecurityOptions::default() }
}

async fn connected(served: &Served) -> TcpStream {
    TcpStream::connect(served.base.trim_start_matches("http://")).await.unwrap()
}

/// What comes back until the server closes.
async fn rest(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    let all = stream.read_to_end(&mut answer);
    let _ = tokio::time::timeout(Duration::from_secs(10), all).await.expect("it stays open");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let limits = Limits { body: Duration::from_millis(100), ..Limits::default() };
    let keyed = Keyed::with(settings("memory:"), within(limits)).await;
    let patient = ["/runs/wait", "/runs/stream", "/task", "/test/validate", "/mcp"];
    for path in patient.into_iter().chain(["/optimize", "/threads/search", "/checkpoints"]) {
        for scope in [Scope::Operate, Scope::Admin] {
            let reads = ["/threads/search", "/test/validate", "/mcp"];
            let may = scope == Scope::Admin || !reads.contains(&path);
            let key = keyed.secret(if may { scope } else { Scope::Read });
            for (field, begun) in
                [("Content-Length: 20", "{"), ("Transfer-Encoding: chunked", "1\r\n{\r\n")]
            {
                let head = format!(
                    "POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\nIdempotency-Key: k\r\nContent-Type: application/json\r\n{field}\r\n\r\n{begun}"
                );
                let mut stream = connected(&keyed.served).await;
                stream.write_all(head.as_bytes()).await.unwrap();
                let answer = rest(stream).await;
                assert!(answer.starts_with("HTTP/1.1 408 "), "{path} {field}: {answer}");
            }
        }
    }
}

#[tokio::test]
async fn whoever_comes_when_all_connections_are_taken_waits_for_one() {
    let limits = Limits { connections: 2, ..Limits::default() };
    let served = Served::safe(settings("memory:"), within(limits)).await;
    let head = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let (first, second) = (connected(&served).await, connected(&served).await);
    let mut third = connected(&served).await;
    third.write_all(head).await.unwrap();
    let mut byte = [0];
    let early = tokio::time::timeout(Duration::from_millis(200), third.read_exact(&mut byte)).await;
    assert!(early.is_err(), "it was taken");
    drop(first);
    assert!(rest(third).await.contains(" 200 OK"));
    drop(second);
    assert_eq!(served.get("/health").await.0, 200);
    served.stop().await;
}

#[tokio::test]
async fn methods_that_strangers_invent_make_no_series() {
    let keyed = Keyed::start().await;
    for number in 0..60 {
        let mut stream = connected(&keyed.served).await;
        let head =
            format!("X{number} /tools HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        assert!(rest(stream).await.starts_with("HTTP/1.1 401 "));
    }
    let request = keyed.served.client.get(format!("{}/metrics", keyed.served.base));
    let request = request.bearer_auth(keyed.secret(Scope::Read));
    let page = request.send().await.unwrap().text().await.unwrap();
    let series = page.lines().filter(|line| line.starts_with("perf_agent_http_requests_total{"));
    assert_eq!(series.count(), 1, "{page}");
    assert!(page.contains("method=\"OTHER\",status=\"401\"} 60"), "{page}");
}

fn deployment_at(listener: &TcpListener) -> Settings {
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let text = format!(
        "deployments:\n  - name: chat\n    launcher: external\n    engine: vllm\n    served_model: m\n    endpoints: [{endpoint}]\n"
    );
    let config = ConfigFile::parse("test", &text).unwrap_or_else(|error| panic!("{error}"));
    Settings { config, ..settings("memory:") }
}

#[tokio::test]
async fn a_deployment_that_hangs_is_named_by_health_and_does_not_hang_it() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let limits = Limits { answer: Duration::from_secs(3), ..Limits::default() };
    let served = Served::safe(deployment_at(&silent), within(limits)).await;
    let (status, health) = served.get("/health/detailed").await;
    assert_eq!((status, &health["status"]), (503, &json!("degraded")), "{health}");
    let checks = health["checks"].as_array().unwrap();
    let named = |name: &str| {
        let found = checks.iter().find(|check| check["name"] == name);
        found.unwrap_or_else(|| panic!("{name}: {health}"))
    };
    let hangs = named("deployment chat");
    assert_eq!(hangs["ok"], false);
    assert!(hangs["latency_ms"].as_u64().is_some_and(|ms| (1_000..3_000).contains(&ms)), "{hangs}");
    let store = named("store");
    assert!(store["ok"] == true && store["latency_ms"].is_u64(), "{store}");
    assert_eq!(named("decides")["latency_ms"], Value::Null, "nothing is asked for it");
}

#[tokio::test]
async fn a_request_that_failed_on_its_way_is_not_begun_again_under_its_key() {
    // A start that has to wait for the disk is cut off, and goes on.
    let limits = Limits { answer: Duration::ZERO, ..Limits::default() };
    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", folder.path().join("runs.db").display());
    let served = Served::safe(settings(&store), within(limits)).await;
    let send = async || {
        let request = served.client.post(format!("{}/optimize", served.base));
        let request = request.header("idempotency-key", "one").json(&json!({"goal": GOAL}));
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json::<Value>().await.unwrap())
    };
    let (status, problem) = send().await;
    assert_eq!((status, &problem["code"]), (504, &json!("api.timeout")), "{problem}");
    let (status, problem) = send().await;
    assert_eq!((status, &problem["code"]), (409, &json!("api.idempotency_in_doubt")), "{problem}");
}

#[tokio::test]
async fn an_idempotency_key_counts_wherever_something_is_made() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/graphs");
    let prompts = Some(folder.join("prompts"));
    let served =
        Served::of(Settings { graphs: Some(folder), prompts, ..settings("memory:") }).await;
    let thread = served.thread().await;
    let run = json!({"assistant_id": "trivial", "input": {"n": 1}});
    let cron = json!({"assistant_id": "trivial", "schedule": "0 0 29 2 *"});
    for (path, body) in [
        ("/threads".to_owned(), json!({})),
        ("/assistants".to_owned(), json!({"graph_id": "trivial"})),
        ("/runs".to_owned(), run.clone()),
        ("/runs/batch".to_owned(), json!([run])),
        ("/runs/crons".to_owned(), cron.clone()),
        (format!("/threads/{thread}/runs"), run.clone()),
        (format!("/threads/{thread}/runs/crons"), cron),
        (format!("/threads/{thread}/copy"), json!({})),
    ] {
        let send = async || {
            let request = served.client.post(format!("{}{path}", served.base));
            let response =
                request.header("idempotency-key", &path).json(&body).send().await.unwrap();
            assert_eq!(response.status(), 200, "{path}");
            let again = response.headers().contains_key("idempotency-replayed");
            (again, response.text().await.unwrap())
        };
        let (_, first) = send().await;
        assert_eq!(send().await, (true, first), "{path}");
    }
}

#[tokio::test]
async fn what_waits_for_a_superstep_is_not_cut_off_with_what_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let graphs = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/graphs");
    let prompts = Some(graphs.join("prompts"));
    let store = format!("sqlite:{}", folder.path().join("runs.db").display());
    let settings = Settings { graphs: Some(graphs), prompts, ..settings(&store) };
    // Whatever has to wait for anything is too slow for this.
    let limits = Limits { answer: Duration::ZERO, ..Limits::default() };
    let served = Served::safe(settings, within(limits)).await;
    let thread = "0198f7a0-0000-7000-8000-000000000003";
    let path = format!("/threads/{thread}/runs");
    let mut run = json!({"assistant_id": "hitl", "input": {"n": 1}, "if_not_exists": "create"});
    for strategy in ["enqueue", "interrupt", "rollback"] {
        run["multitask_strategy"] = json!(strategy);
        let (status, made) = served.post(&path, run.clone()).await;
        assert_eq!(status, 200, "{strategy}: {made}");
        run["run"] = made["run_id"].clone();
    }
    let alone = json!({"assistant_id": "trivial", "input": {"n": 1}});
    let (status, answer) = served.post("/runs", alone).await;
    assert_eq!((status, &answer["code"]), (504, &json!("api.timeout")), "{answer}");
    let all = json!({"status": "all"});
    assert!(matches!(served.send("POST", "/runs/cancel", all).await.0, 204 | 404));
    let last = run["run"].as_str().unwrap();
    assert_eq!(served.delete(&format!("{path}/{last}")).await, 204);
    let prune = json!({"thread_ids": [thread]});
    assert_eq!(served.post("/threads/prune", prune).await, (200, json!({"pruned_count": 1})));
    served.stop().await;
}

#[tokio::test]
async fn the_stream_of_a_run_that_was_put_off_begins_at_once_and_ends_with_the_server() {
    let served = Served::with_test_graphs("memory:").await;
    let run = json!({"assistant_id": "trivial", "input": {"n": 1}, "after_seconds": 600});
    let request = served.client.post(format!("{}/runs/stream", served.base)).json(&run);
    let response = tokio::time::timeout(Duration::from_secs(5), request.send()).await;
    let response = response.expect("no headers come").unwrap();
    assert_eq!(response.status(), 200);
    let began = std::time::Instant::now();
    let (text, ()) = tokio::join!(response.text(), served.stop());
    assert!(text.unwrap().contains("event: error"), "it is told");
    assert!(began.elapsed() < Duration::from_secs(10));
}
