//! `put`: what is kept is what was given.

use serde_json::{Value, json};

use super::support::{
    Draft, Saver, channels, config, config_in, get, metadata, put, read, step, values, with,
};

pub async fn test_put_returns_config(s: &Saver) {
    let stored = put(s, &config("t"), channels(&[("k", 1, Some(json!("v")))])).await;
    let found = get(s, &stored).await.unwrap().checkpoint;
    assert_eq!((found.scope, found.id.as_str()), (stored.scope.clone(), stored.id()));
}

pub async fn test_put_roundtrip(s: &Saver) {
    let stored = put(s, &config("t"), channels(&[("msg", 1, Some(json!("hello")))])).await;
    let found = get(s, &stored).await.unwrap();
    assert_eq!(read(&found.checkpoint.body)["id"], stored.id());
    assert_eq!(values(&found), json!({ "msg": "hello" }));
}

pub async fn test_put_preserves_channel_values(s: &Saver) {
    let given = [
        ("str_val", 1, Some(json!("hello"))),
        ("int_val", 1, Some(json!(42))),
        ("list_val", 1, Some(json!([1, 2, 3]))),
        ("dict_val", 1, Some(json!({ "nested": true }))),
        ("none_val", 1, Some(Value::Null)),
        ("long_val", 1, Some(json!("long ".repeat(5_000)))),
    ];
    let stored = put(s, &config("t"), channels(&given)).await;
    let found = values(&get(s, &stored).await.unwrap());
    for (name, _, value) in given {
        assert_eq!(found[name], value.unwrap(), "{name}");
    }
}

pub async fn test_put_preserves_channel_versions(s: &Saver) {
    let given = channels(&[("a", 1, Some(json!("x"))), ("b", 2, Some(json!("y")))]);
    let stored = put(s, &config("t"), given).await;
    let body = read(&get(s, &stored).await.unwrap().checkpoint.body);
    assert_eq!(body["channel_versions"], json!({ "a": 1, "b": 2 }));
}

async fn versions_seen_come_back(s: &Saver, seen: Value) {
    let draft = Draft { versions_seen: seen.clone(), ..Draft::default() };
    let stored = put(s, &config("t"), draft).await;
    assert_eq!(read(&get(s, &stored).await.unwrap().checkpoint.body)["versions_seen"], seen);
}

pub async fn test_put_preserves_versions_seen(s: &Saver) {
    versions_seen_come_back(s, json!({ "node1": { "ch": 1 }, "node2": { "ch": 2 } })).await;
}

pub async fn test_put_preserves_versions_seen_values(s: &Saver) {
    versions_seen_come_back(s, json!({ "node1": { "a": 1, "b": 2 }, "node2": { "a": 3 } })).await;
}

pub async fn test_put_preserves_metadata(s: &Saver) {
    let mut given = metadata("loop", 3);
    given.insert("custom_key".to_owned(), json!("custom_value"));
    let draft = Draft { metadata: given.clone(), ..Draft::default() };
    let stored = put(s, &config("t"), draft).await;
    assert_eq!(get(s, &stored).await.unwrap().checkpoint.metadata, given);
}

async fn namespace_comes_back(s: &Saver, namespace: &str) {
    let stored = put(s, &config_in("t", namespace), Draft::default()).await;
    assert_eq!(get(s, &stored).await.unwrap().checkpoint.scope.namespace, namespace);
}

pub async fn test_put_root_namespace(s: &Saver) {
    namespace_comes_back(s, "").await;
}

pub async fn test_put_child_namespace(s: &Saver) {
    namespace_comes_back(s, "child:abc").await;
}

pub async fn test_put_default_namespace(s: &Saver) {
    let stored = put(s, &config("t"), Draft::default()).await;
    assert_eq!(stored.scope.namespace, "");
    assert!(get(s, &config("t")).await.is_some());
}

pub async fn test_put_multiple_checkpoints_same_thread(s: &Saver) {
    let mut at = config("t");
    let mut line = Vec::new();
    for number in 0..3 {
        at = put(s, &at, step(number)).await;
        line.push(at.clone());
    }
    for stored in line {
        assert_eq!(get(s, &stored).await.unwrap().checkpoint.id, stored.id());
    }
}

pub async fn test_put_multiple_threads_isolated(s: &Saver) {
    for thread in ["one", "two"] {
        put(s, &config(thread), channels(&[("x", 1, Some(json!(thread)))])).await;
    }
    for thread in ["one", "two"] {
        assert_eq!(values(&get(s, &config(thread)).await.unwrap()), json!({ "x": thread }));
    }
}

pub async fn test_put_parent_config(s: &Saver) {
    let first = put(s, &config("t"), step(0)).await;
    let second = put(s, &first, step(1)).await;
    assert_eq!(get(s, &second).await.unwrap().checkpoint.parent, first.id);
}

pub async fn test_put_incremental_channel_update(s: &Saver) {
    let both = channels(&[("a", 1, Some(json!("v1"))), ("b", 1, Some(json!("v2")))]);
    let first = put(s, &config("t"), both).await;
    let second = channels(&[("a", 2, Some(json!("v1_updated"))), ("b", 1, None)]);
    let second = put(s, &first, second).await;
    let found = values(&get(s, &second).await.unwrap());
    assert_eq!(found, json!({ "a": "v1_updated", "b": "v2" }));
    assert_eq!(values(&get(s, &first).await.unwrap()), json!({ "a": "v1", "b": "v2" }));
}

pub async fn test_put_new_channel_added(s: &Saver) {
    let first = put(s, &config("t"), channels(&[("a", 1, Some(json!("v1")))])).await;
    let second = channels(&[("a", 1, None), ("b", 1, Some(json!("new_channel")))]);
    let second = put(s, &first, second).await;
    let found = values(&get(s, &second).await.unwrap());
    assert_eq!(found, json!({ "a": "v1", "b": "new_channel" }));
}

pub async fn test_put_channel_removed(s: &Saver) {
    let both = channels(&[("a", 1, Some(json!("v1"))), ("b", 1, Some(json!("v2")))]);
    let first = put(s, &config("t"), both).await;
    let second = put(s, &first, channels(&[("a", 2, Some(json!("v1_updated")))])).await;
    assert_eq!(values(&get(s, &second).await.unwrap()), json!({ "a": "v1_updated" }));
}

pub async fn test_put_preserves_run_id(s: &Saver) {
    let stored = put(s, &config("t"), with("run_id", json!("run-1"))).await;
    assert_eq!(get(s, &stored).await.unwrap().checkpoint.metadata["run_id"], "run-1");
}
