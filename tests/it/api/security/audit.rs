//! What is written down of writes.

use std::sync::Arc;

use perf_agent::api::{Scope, SecurityOptions};
use perf_agent::base::{ManualClock, Millis};
use serde_json::{Value, json};

use crate::api::support::{Keyed, Served, settings};

fn shown(entry: &Value) -> (&str, &str, u64) {
    let text = |name: &str| entry[name].as_str().unwrap();
    (text("what"), text("outcome"), entry["status"].as_u64().unwrap())
}

#[tokio::test]
async fn every_write_is_noted_with_who_what_when_and_how_it_ended() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.jsonl");
    let security = SecurityOptions { audit: Some(file.clone()), ..SecurityOptions::default() };
    let keyed = Keyed::with(settings("memory:"), security).await;
    keyed.post(Scope::Operate, "/threads", json!({})).await;
    keyed.post(Scope::Approve, "/optimize/nobody/approve", json!({})).await;
    keyed.post(Scope::Read, "/threads", json!({})).await;
    keyed.post(Scope::Read, "/threads/search", json!({})).await;
    keyed.get(Scope::Read, "/tools").await;
    keyed.served.post("/threads", json!({})).await;
    let (status, entries) = keyed.get(Scope::Admin, "/audit").await;
    assert_eq!(status, 200);
    let entries = entries.as_array().unwrap();
    let wanted = [
        ("POST /threads", "refused", 401),
        ("POST /threads", "refused", 403),
        ("POST /optimize/{thread_id}/approve", "refused", 404),
        ("POST /threads", "done", 200),
    ];
    assert_eq!(entries.iter().map(shown).collect::<Vec<_>>(), wanted);
    assert_eq!(entries[2]["path"], "/optimize/nobody/approve");
    assert_eq!(
        (&entries[0]["who"]["key"], &entries[0]["who"]["name"]),
        (&Value::Null, &Value::Null)
    );
    for (entry, name) in entries[1..].iter().zip(["read", "approve", "operate"]) {
        assert_eq!(entry["who"]["name"], name, "{entry}");
        assert_eq!(entry["who"]["key"].as_str().unwrap().len(), 12);
        assert!(entry["who"]["from"].as_str().unwrap().starts_with("127.0.0.1:"));
        assert_eq!(entry["request_id"].as_str().unwrap().len(), 36);
        assert!(entry["at_ms"].as_u64().unwrap() > 1_700_000_000_000);
    }
    let (_, one) = keyed.get(Scope::Admin, "/audit?limit=1").await;
    assert_eq!(one.as_array().unwrap().len(), 1);
    assert_eq!(keyed.get(Scope::Admin, "/audit?limit=0").await.0, 422);
    for scope in [Scope::Read, Scope::Operate, Scope::Approve] {
        assert_eq!(keyed.get(scope, "/audit").await.0, 403);
    }
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(text.lines().count(), 4);
    for scope in Scope::ALL {
        assert!(!text.contains(keyed.secret(scope)));
    }
}

#[tokio::test]
async fn strangers_are_noted_and_cannot_fill_the_log() {
    let clock = Arc::new(ManualClock::new(Millis(1_000_000)));
    let security = SecurityOptions { clock: clock.clone(), ..SecurityOptions::default() };
    let keyed = Keyed::with(settings("memory:"), security.clone()).await;
    for _ in 0..40 {
        assert_eq!(keyed.served.get("/tools").await.0, 401);
    }
    let noted = async || keyed.get(Scope::Admin, "/audit").await.1.as_array().unwrap().len();
    assert_eq!(noted().await, 10, "twice what a second brings");
    clock.set(Millis(1_001_000));
    for _ in 0..40 {
        keyed.served.get("/tools").await;
    }
    assert_eq!(noted().await, 15);
    let served = Served::safe(settings("memory:"), security).await;
    let request = served.client.get(format!("{}/tools", served.base));
    let answer = request.header("origin", "https://evil.example").send().await.unwrap();
    assert_eq!(answer.status(), 403);
    let (_, entries) = served.get("/audit").await;
    assert_eq!(shown(&entries[0]), ("GET /tools", "refused", 403));
}

#[tokio::test]
async fn writes_of_this_machine_are_noted_too() {
    let served = Served::start().await;
    served.thread().await;
    let (_, entries) = served.get("/audit").await;
    assert_eq!(shown(&entries[0]), ("POST /threads", "done", 200));
    assert_eq!(
        (&entries[0]["who"]["key"], &entries[0]["who"]["name"]),
        (&Value::Null, &Value::Null)
    );
}

#[tokio::test]
async fn a_log_goes_on_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.jsonl");
    for served in 1..=2 {
        let audit = Some(file.clone());
        let security = SecurityOptions { audit, ..SecurityOptions::default() };
        let server = Served::safe(settings("memory:"), security).await;
        server.thread().await;
        let (_, entries) = server.get("/audit").await;
        assert_eq!(entries.as_array().unwrap().len(), served);
        server.stop().await;
    }
}
