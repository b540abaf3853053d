//! `delete_for_runs`: what some runs made, in every thread and namespace.

use serde_json::json;

use super::support::{Config, Saver, config, config_in, get, list, put, with, write};

async fn put_of(s: &Saver, at: &Config, run: &str) -> Config {
    put(s, at, with("run_id", json!(run))).await
}

async fn delete(s: &Saver, runs: &[&str]) {
    let runs: Vec<String> = runs.iter().map(|run| (*run).to_owned()).collect();
    s.forget_runs(&runs).await.unwrap();
}

async fn runs(s: &Saver, namespace: &str) -> Vec<String> {
    let found = list(s, "t", namespace).await.into_iter();
    found.map(|found| found.checkpoint.metadata["run_id"].as_str().unwrap().to_owned()).collect()
}

pub async fn test_delete_for_runs_single(s: &Saver) {
    let first = put_of(s, &config("t"), "run1").await;
    put_of(s, &first, "run2").await;
    delete(s, &["run1"]).await;
    assert_eq!(runs(s, "").await, ["run2"]);
}

pub async fn test_delete_for_runs_multiple(s: &Saver) {
    let mut at = config("t");
    for run in ["run1", "run2", "run3"] {
        at = put_of(s, &at, run).await;
    }
    delete(s, &["run1", "run2"]).await;
    assert_eq!(runs(s, "").await, ["run3"]);
}

pub async fn test_delete_for_runs_preserves_other_runs(s: &Saver) {
    for run in ["keep", "delete"] {
        put_of(s, &config("t"), run).await;
    }
    delete(s, &["delete"]).await;
    assert_eq!(runs(s, "").await, ["keep"]);
}

pub async fn test_delete_for_runs_removes_writes(s: &Saver) {
    let stored = put_of(s, &config("t"), "run1").await;
    write(s, &stored, "task", &[("ch", json!("val"))]).await;
    delete(s, &["run1"]).await;
    assert_eq!(get(s, &stored).await, None);
}

pub async fn test_delete_for_runs_empty_list_noop(s: &Saver) {
    put_of(s, &config("t"), "run1").await;
    delete(s, &[]).await;
    assert_eq!(runs(s, "").await, ["run1"]);
}

pub async fn test_delete_for_runs_nonexistent_noop(s: &Saver) {
    delete(s, &["nobody's"]).await;
}

pub async fn test_delete_for_runs_across_namespaces(s: &Saver) {
    for namespace in ["", "child:1"] {
        put_of(s, &config_in("t", namespace), "run1").await;
    }
    delete(s, &["run1"]).await;
    for namespace in ["", "child:1"] {
        assert!(runs(s, namespace).await.is_empty());
    }
}
