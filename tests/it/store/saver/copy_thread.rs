//! `copy_thread`: everything, and the source stays as it was.

use perf_agent::store::FoundCheckpoint;
use serde_json::json;

use super::support::{Saver, config, get, ids, line, list, said, values, write, writes};

async fn copy(s: &Saver) {
    assert!(s.copy_saved("src", "dst").await.unwrap());
}

pub async fn test_copy_thread_basic(s: &Saver) {
    line(s, "src", "", 3).await;
    copy(s).await;
    assert_eq!(ids(s, "dst", "").await.len(), 3);
}

pub async fn test_copy_thread_all_checkpoints(s: &Saver) {
    line(s, "src", "", 3).await;
    copy(s).await;
    let all = |found: Vec<FoundCheckpoint>| found.iter().map(values).collect::<Vec<_>>();
    assert_eq!(all(list(s, "dst", "").await), all(list(s, "src", "").await));
}

pub async fn test_copy_thread_preserves_metadata(s: &Saver) {
    line(s, "src", "", 2).await;
    copy(s).await;
    let all = |found: Vec<FoundCheckpoint>| {
        found.into_iter().map(|found| found.checkpoint.metadata).collect::<Vec<_>>()
    };
    assert_eq!(all(list(s, "dst", "").await), all(list(s, "src", "").await));
}

pub async fn test_copy_thread_preserves_namespaces(s: &Saver) {
    for namespace in ["", "child:1"] {
        line(s, "src", namespace, 1).await;
    }
    copy(s).await;
    for namespace in ["", "child:1"] {
        assert_eq!(ids(s, "dst", namespace).await.len(), 1);
    }
}

pub async fn test_copy_thread_preserves_writes(s: &Saver) {
    let line = line(s, "src", "", 1).await;
    write(s, &line[0], "task", &[("ch", json!("write_val"))]).await;
    copy(s).await;
    let found = get(s, &config("dst")).await.unwrap();
    assert_eq!(writes(&found), [said("task", "ch", json!("write_val"))]);
}

pub async fn test_copy_thread_preserves_ordering(s: &Saver) {
    line(s, "src", "", 4).await;
    copy(s).await;
    assert_eq!(ids(s, "dst", "").await, ids(s, "src", "").await);
}

pub async fn test_copy_thread_source_unchanged(s: &Saver) {
    line(s, "src", "", 2).await;
    let before = list(s, "src", "").await;
    copy(s).await;
    assert_eq!(list(s, "src", "").await, before);
}

pub async fn test_copy_thread_nonexistent_source(s: &Saver) {
    copy(s).await;
    assert!(ids(s, "dst", "").await.is_empty());
}
