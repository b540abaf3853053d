//! `delete_thread`: all of one, nothing of another.

use serde_json::json;

use super::support::{Draft, Saver, config, config_in, get, ids, line, put, write};

async fn delete(s: &Saver, thread: &str) {
    s.forget_threads(&[thread.to_owned()]).await.unwrap();
}

pub async fn test_delete_thread_removes_checkpoints(s: &Saver) {
    line(s, "t", "", 3).await;
    delete(s, "t").await;
    assert_eq!(get(s, &config("t")).await, None);
    assert!(ids(s, "t", "").await.is_empty());
}

pub async fn test_delete_thread_removes_writes(s: &Saver) {
    let stored = put(s, &config("t"), Draft::default()).await;
    write(s, &stored, "task", &[("ch", json!("val"))]).await;
    delete(s, "t").await;
    assert_eq!(get(s, &stored).await, None);
    // Not even a checkpoint with the same id finds them again.
    super::support::put_as(s, &config("t"), stored.id(), Draft::default()).await;
    assert!(get(s, &stored).await.unwrap().writes.is_empty());
}

pub async fn test_delete_thread_removes_all_namespaces(s: &Saver) {
    for namespace in ["", "child:1"] {
        put(s, &config_in("t", namespace), Draft::default()).await;
    }
    delete(s, "t").await;
    for namespace in ["", "child:1"] {
        assert_eq!(get(s, &config_in("t", namespace)).await, None);
    }
}

pub async fn test_delete_thread_preserves_other_threads(s: &Saver) {
    for thread in ["one", "two"] {
        put(s, &config(thread), Draft::default()).await;
    }
    delete(s, "one").await;
    assert_eq!(get(s, &config("one")).await, None);
    assert!(get(s, &config("two")).await.is_some());
}

pub async fn test_delete_thread_nonexistent_noop(s: &Saver) {
    delete(s, "nobody").await;
}
