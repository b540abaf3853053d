//! `/checkpoints`: what LangGraph's savers need, and what is refused. Its own suite runs in `tests/conformance_py`.

use serde_json::{Value, json};

use super::support::Served;

fn checkpoint(thread: &str, id: &str) -> Value {
    json!({
        "thread_id": thread,
        "checkpoint_id": id,
        "checkpoint": { "type": "json", "data": "e30=" },
        "metadata": { "source": "loop", "step": 1 },
        "channel_versions": { "messages": "1" },
        "new_values": { "messages": { "type": "bytes", "data": "AAEC/w==" } },
    })
}

async fn search(served: &Served, query: Value) -> Vec<Value> {
    let (status, found) = served.post("/checkpoints/search", query).await;
    assert_eq!(status, 200, "{found}");
    found["checkpoints"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_checkpoint_comes_back_byte_for_byte_and_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("threads.db").display());
    let served = Served::over(&url).await;
    let (status, put) = served.post("/checkpoints", checkpoint("t", "1")).await;
    assert_eq!((status, &put["ok"]), (200, &true.into()), "{put}");
    let writes = json!({
        "thread_id": "t", "checkpoint_id": "1", "task_id": "task", "task_path": "a",
        "writes": [{ "index": 0, "channel": "n", "value": { "type": "null", "data": "" } }],
    });
    assert_eq!(served.post("/checkpoints/writes", writes).await.0, 200);
    served.stop().await;
    let served = Served::over(&url).await;
    let found = search(&served, json!({ "thread_id": "t", "checkpoint_ns": "", "limit": 1 })).await;
    assert_eq!(found[0]["values"]["messages"], json!({ "type": "bytes", "data": "AAEC/w==" }));
    assert_eq!(found[0]["metadata"], json!({ "source": "loop", "step": 1 }));
    let write = &found[0]["writes"][0];
    assert_eq!((&write["task_id"], &write["channel"]), (&"task".into(), &"n".into()));
    served.stop().await;
}

#[tokio::test]
async fn a_value_larger_than_other_bodies_may_be_is_kept() {
    let served = Served::start().await;
    let mut large = checkpoint("t", "1");
    large["new_values"]["messages"]["data"] = "AAAA".repeat(1 << 19).into();
    assert_eq!(served.post("/checkpoints", large.clone()).await.0, 200);
    let found = search(&served, json!({ "thread_id": "t" })).await;
    assert_eq!(found[0]["values"]["messages"], large["new_values"]["messages"]);
}

#[tokio::test]
async fn misfit_requests_are_refused_and_a_copy_overwrites_nothing() {
    let served = Served::start().await;
    let mut bad_data = checkpoint("t", "1");
    bad_data["checkpoint"]["data"] = "no base64".into();
    let mut no_version = checkpoint("t", "1");
    no_version["channel_versions"] = json!({});
    let mut unknown = checkpoint("t", "1");
    unknown["color"] = "red".into();
    for body in [bad_data, no_version, unknown] {
        assert_eq!(served.post("/checkpoints", body).await.0, 422);
    }
    for limit in [0, 1_001] {
        let (status, problem) = served.post("/checkpoints/search", json!({ "limit": limit })).await;
        assert_eq!((status, &problem["code"]), (422, &"api.invalid_request".into()));
    }
    assert!(search(&served, json!({})).await.is_empty());
    for thread in ["a", "b"] {
        served.post("/checkpoints", checkpoint(thread, "1")).await;
    }
    let copy = json!({ "source_thread_id": "a", "target_thread_id": "b" });
    let (status, problem) = served.post("/checkpoints/copy", copy).await;
    assert_eq!((status, &problem["code"]), (409, &"api.thread_exists".into()));
}
