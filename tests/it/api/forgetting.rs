//! What is forgotten of a thread is forgotten as a whole, and nothing else stumbles over it.

use std::path::Path;
use std::time::Duration;

use perf_agent::agent::{ConfigFile, Settings, store_documents};
use serde_json::{Value, json};

use super::support::{Served, settings};

async fn served(folder: &Path, retention: &str) -> Served {
    let graphs = Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/graphs"));
    let prompts = graphs.as_ref().map(|graphs| graphs.join("prompts"));
    let config = ConfigFile::parse("config", retention).unwrap();
    let url = url(folder);
    Served::of(Settings { graphs, prompts, config, ..settings(&url) }).await
}

fn url(folder: &Path) -> String {
    format!("sqlite:{}", folder.join("runs.db").display())
}

/// A thread with a run that is over, owned by `owner`.
async fn done(served: &Served, owner: &str) -> String {
    let (_, thread) = served.post("/threads", json!({"metadata": {"owner": owner}})).await;
    let thread = thread["thread_id"].as_str().unwrap().to_owned();
    let order = json!({"assistant_id": "trivial", "input": {"n": 1}});
    let (status, _) = served.post(&format!("/threads/{thread}/runs/wait"), order).await;
    assert_eq!(status, 200);
    thread
}

/// Waits until the thread is gone.
async fn gone(served: &Served, thread: &str) {
    while served.get(&format!("/threads/{thread}")).await.0 != 404 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn found(served: &Served, search: Value) -> Vec<String> {
    let (status, threads) = served.post("/threads/search", search.clone()).await;
    assert_eq!(status, 200, "{search}: {threads}");
    let id = |thread: &Value| thread["thread_id"].as_str().unwrap().to_owned();
    threads.as_array().unwrap().iter().map(id).collect()
}

/// Documents in which a thread is named, wherever.
async fn named(folder: &Path, thread: &str) -> Vec<String> {
    let documents = store_documents(&url(folder)).unwrap();
    let runs = format!("langgraph.runs/{thread}");
    let mut named = Vec::new();
    for collection in ["langgraph.threads", &runs, "threads", "started"] {
        for document in documents.list(collection, 1_000).await.unwrap() {
            if format!("{} {}", document.key, document.value).contains(thread) {
                named.push(format!("{collection}/{}", document.key));
            }
        }
    }
    named
}

#[tokio::test]
async fn a_thread_that_retention_forgets_leaves_no_record_and_search_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let first = served(folder.path(), "retention: {}\n").await;
    let old = done(&first, "me").await;
    let new = done(&first, "me").await;
    first.stop().await;
    assert_eq!(named(folder.path(), &old).await.len(), 4, "record, run, made, started");

    let served = served(folder.path(), "retention: { threads_max: 1 }\n").await;
    gone(&served, &old).await;
    for search in [
        json!({}),
        json!({"metadata": {"owner": "me"}}),
        json!({"status": "idle"}),
        json!({"values": {"n": 2}}),
    ] {
        assert_eq!(found(&served, search.clone()).await, [new.as_str()], "{search}");
        assert_eq!(served.post("/threads/count", search).await, (200, json!(1)));
    }
    served.stop().await;
    assert_eq!(named(folder.path(), &old).await, Vec::<String>::new());
    assert_eq!(named(folder.path(), &new).await.len(), 4);
}

#[tokio::test]
async fn a_record_whose_thread_is_gone_is_not_found_and_goes_with_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let first = served(folder.path(), "retention: {}\n").await;
    let thread = done(&first, "me").await;
    first.stop().await;
    // As a crash leaves it between the thread and its records.
    let ghost = "01999999-0000-7000-8000-000000000000";
    {
        let documents = store_documents(&url(folder.path())).unwrap();
        let kept = documents.get("langgraph.threads", &thread).await.unwrap().unwrap();
        let mut record = kept.value;
        record["thread"] = ghost.into();
        documents.put("langgraph.threads", ghost, None, record).await.unwrap();
        documents.put(&format!("langgraph.runs/{ghost}"), "r", None, json!({})).await.unwrap();
    }
    let served = served(folder.path(), "retention: {}\n").await;
    assert_eq!(found(&served, json!({})).await, [thread.as_str()]);
    served.stop().await;
    assert_eq!(named(folder.path(), ghost).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_thread_with_a_cron_or_a_run_that_was_put_off_is_not_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let first = served(folder.path(), "retention: {}\n").await;
    let (cron, later, old, new) = (
        done(&first, "cron").await,
        done(&first, "later").await,
        done(&first, "old").await,
        done(&first, "new").await,
    );
    let order = json!({"assistant_id": "trivial", "schedule": "0 3 1 1 *", "input": {"n": 1}});
    assert_eq!(first.post(&format!("/threads/{cron}/runs/crons"), order).await.0, 200);
    let order = json!({"assistant_id": "trivial", "input": {"n": 1}, "after_seconds": 3_600});
    assert_eq!(first.post(&format!("/threads/{later}/runs"), order).await.0, 200);
    first.stop().await;

    let served = served(folder.path(), "retention: { threads_max: 1 }\n").await;
    gone(&served, &old).await;
    let mut left = found(&served, json!({})).await;
    let mut wanted = vec![cron, later, new];
    left.sort();
    wanted.sort();
    assert_eq!(left, wanted);
    served.stop().await;
}

#[tokio::test]
async fn a_deleted_thread_takes_its_records_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let served = served(folder.path(), "retention: {}\n").await;
    let thread = done(&served, "me").await;
    assert_eq!(served.delete(&format!("/threads/{thread}")).await, 204);
    assert_eq!(found(&served, json!({})).await, Vec::<String>::new());
    served.stop().await;
    assert_eq!(named(folder.path(), &thread).await, Vec::<String>::new());
}
