//! `list`: newest first, by thread, namespace, metadata, with a cursor.

use perf_agent::store::SavedQuery;
use serde_json::{Value, json};

use super::support::{
    Config, Draft, Saver, config, config_in, find, ids, list, metadata, of, put, said, with, write,
    writes,
};

/// Four checkpoints, by turns of `input` and `loop`.
async fn four(s: &Saver) -> Vec<Config> {
    let (mut at, mut four) = (config("t"), Vec::new());
    for step in 0..4 {
        let source = if step % 2 == 0 { "input" } else { "loop" };
        let draft = Draft { metadata: metadata(source, step), ..Draft::default() };
        at = put(s, &at, draft).await;
        four.push(at.clone());
    }
    four
}

async fn filtered(s: &Saver, thread: &str, filter: Value) -> Vec<Value> {
    let filter = filter.as_object().unwrap().clone();
    let query = SavedQuery { filter, ..of(&config(thread)) };
    let found = find(s, &query).await.into_iter();
    found.map(|found| json!(found.checkpoint.metadata)).collect()
}

async fn before(s: &Saver, cursor: &Config, limit: usize) -> Vec<String> {
    let query = SavedQuery { before: cursor.id.clone(), limit, ..of(&config("t")) };
    find(s, &query).await.into_iter().map(|found| found.checkpoint.id).collect()
}

pub async fn test_list_all(s: &Saver) {
    four(s).await;
    assert_eq!(ids(s, "t", "").await.len(), 4);
}

pub async fn test_list_by_thread(s: &Saver) {
    four(s).await;
    assert!(ids(s, "nobody", "").await.is_empty());
    assert_eq!(ids(s, "t", "").await.len(), 4);
    assert_eq!(find(s, &SavedQuery { limit: 9, ..SavedQuery::default() }).await.len(), 4);
}

pub async fn test_list_by_namespace(s: &Saver) {
    for namespace in ["", "child:1"] {
        put(s, &config_in("t", namespace), Draft::default()).await;
    }
    for namespace in ["", "child:1"] {
        assert_eq!(ids(s, "t", namespace).await.len(), 1);
    }
}

pub async fn test_list_ordering(s: &Saver) {
    let mut given: Vec<String> = four(s).await.into_iter().map(|at| at.id().to_owned()).collect();
    given.reverse();
    assert_eq!(ids(s, "t", "").await, given);
}

pub async fn test_list_metadata_filter_single_key(s: &Saver) {
    four(s).await;
    let found = filtered(s, "t", json!({ "source": "input" })).await;
    assert_eq!(found.len(), 2);
    assert!(found.iter().all(|metadata| metadata["source"] == "input"));
}

pub async fn test_list_metadata_filter_step(s: &Saver) {
    four(s).await;
    let found = filtered(s, "t", json!({ "step": 1 })).await;
    assert_eq!((found.len(), &found[0]["step"]), (1, &json!(1)));
}

pub async fn test_list_before(s: &Saver) {
    let four = four(s).await;
    assert_eq!(before(s, &four[2], 99).await, [four[1].id(), four[0].id()]);
}

pub async fn test_list_limit(s: &Saver) {
    four(s).await;
    for limit in [1, 2] {
        let query = SavedQuery { limit, ..of(&config("t")) };
        assert_eq!(find(s, &query).await.len(), limit);
    }
}

pub async fn test_list_limit_plus_before(s: &Saver) {
    let four = four(s).await;
    assert_eq!(before(s, &four[3], 1).await, [four[2].id()]);
}

pub async fn test_list_combined_thread_and_filter(s: &Saver) {
    four(s).await;
    put(s, &config("other"), Draft::default()).await;
    assert_eq!(filtered(s, "t", json!({ "source": "loop" })).await.len(), 2);
}

pub async fn test_list_empty_result(s: &Saver) {
    assert!(filtered(s, "nobody", json!({ "source": "nonexistent" })).await.is_empty());
}

pub async fn test_list_includes_pending_writes(s: &Saver) {
    let stored = put(s, &config("t"), Draft::default()).await;
    write(s, &stored, "task", &[("ch", json!("val"))]).await;
    let found = list(s, "t", "").await;
    assert_eq!(found.len(), 1);
    assert_eq!(writes(&found[0]), [said("task", "ch", json!("val"))]);
}

pub async fn test_list_multiple_namespaces(s: &Saver) {
    for namespace in ["", "child:1", "child:2"] {
        put(s, &config_in("t", namespace), Draft::default()).await;
    }
    assert_eq!(ids(s, "t", "").await.len(), 1);
    let everywhere = SavedQuery { namespace: None, ..of(&config("t")) };
    assert_eq!(find(s, &everywhere).await.len(), 3);
}

pub async fn test_list_metadata_filter_multiple_keys(s: &Saver) {
    for (source, step) in [("input", 1), ("loop", 1), ("input", 2)] {
        let draft = Draft { metadata: metadata(source, step), ..Draft::default() };
        put(s, &config("t"), draft).await;
    }
    let found = filtered(s, "t", json!({ "source": "input", "step": 2 })).await;
    assert_eq!(found, [json!(metadata("input", 2))]);
}

pub async fn test_list_metadata_filter_no_match(s: &Saver) {
    four(s).await;
    assert!(filtered(s, "t", json!({ "source": "update", "step": 99 })).await.is_empty());
}

pub async fn test_list_metadata_custom_keys(s: &Saver) {
    for score in [42, 99] {
        put(s, &config("t"), with("score", json!(score))).await;
    }
    let found = filtered(s, "t", json!({ "score": 42 })).await;
    assert_eq!((found.len(), &found[0]["score"]), (1, &json!(42)));
}
