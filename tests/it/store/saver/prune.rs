//! `prune`: only the newest of each namespace, or nothing.

use perf_agent::store::PruneStrategy;
use serde_json::json;

use super::support::{Saver, config, get, ids, line, said, write, writes};

async fn prune(s: &Saver, threads: &[&str], strategy: PruneStrategy) {
    let threads: Vec<String> = threads.iter().map(|thread| (*thread).to_owned()).collect();
    s.prune_saved(&threads, strategy).await.unwrap();
}

pub async fn test_prune_keep_latest_single_thread(s: &Saver) {
    let line = line(s, "t", "", 4).await;
    prune(s, &["t"], PruneStrategy::KeepLatest).await;
    assert_eq!(ids(s, "t", "").await, [line[3].id()]);
}

pub async fn test_prune_keep_latest_multiple_threads(s: &Saver) {
    let (one, two) = (line(s, "one", "", 3).await, line(s, "two", "", 2).await);
    prune(s, &["one", "two"], PruneStrategy::KeepLatest).await;
    assert_eq!(ids(s, "one", "").await, [one[2].id()]);
    assert_eq!(ids(s, "two", "").await, [two[1].id()]);
}

pub async fn test_prune_keep_latest_across_namespaces(s: &Saver) {
    let (root, child) = (line(s, "t", "", 3).await, line(s, "t", "child:1", 2).await);
    prune(s, &["t"], PruneStrategy::KeepLatest).await;
    assert_eq!(ids(s, "t", "").await, [root[2].id()]);
    assert_eq!(ids(s, "t", "child:1").await, [child[1].id()]);
}

pub async fn test_prune_keep_latest_preserves_writes(s: &Saver) {
    let line = line(s, "t", "", 3).await;
    write(s, &line[2], "task", &[("ch", json!("val"))]).await;
    prune(s, &["t"], PruneStrategy::KeepLatest).await;
    let found = get(s, &config("t")).await.unwrap();
    assert_eq!(writes(&found), [said("task", "ch", json!("val"))]);
}

pub async fn test_prune_delete_all(s: &Saver) {
    line(s, "t", "", 3).await;
    prune(s, &["t"], PruneStrategy::Delete).await;
    assert!(ids(s, "t", "").await.is_empty());
}

pub async fn test_prune_preserves_other_threads(s: &Saver) {
    line(s, "one", "", 3).await;
    line(s, "two", "", 2).await;
    let before = ids(s, "two", "").await;
    prune(s, &["one"], PruneStrategy::KeepLatest).await;
    assert_eq!(ids(s, "two", "").await, before);
}

pub async fn test_prune_empty_list_noop(s: &Saver) {
    prune(s, &[], PruneStrategy::KeepLatest).await;
}

pub async fn test_prune_nonexistent_noop(s: &Saver) {
    prune(s, &["nobody"], PruneStrategy::KeepLatest).await;
}
