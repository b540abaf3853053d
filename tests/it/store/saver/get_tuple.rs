//! `get_tuple`: one checkpoint, or none.

use serde_json::json;

use super::support::{
    Draft, Saver, channels, config, config_in, get, line, metadata, put, read, said, values, write,
    writes,
};

pub async fn test_get_tuple_nonexistent_returns_none(s: &Saver) {
    assert_eq!(get(s, &config("nobody")).await, None);
}

pub async fn test_get_tuple_latest_when_no_checkpoint_id(s: &Saver) {
    let line = line(s, "t", "", 3).await;
    let found = get(s, &config("t")).await.unwrap().checkpoint;
    assert_eq!((found.id.as_str(), &found.metadata["step"]), (line[2].id(), &json!(2)));
}

pub async fn test_get_tuple_specific_checkpoint_id(s: &Saver) {
    let line = line(s, "t", "", 2).await;
    assert_eq!(get(s, &line[0]).await.unwrap().checkpoint.id, line[0].id());
}

pub async fn test_get_tuple_config_structure(s: &Saver) {
    let stored = put(s, &config("t"), Draft::default()).await;
    let found = get(s, &stored).await.unwrap().checkpoint;
    assert_eq!((found.scope.thread.as_str(), found.scope.namespace.as_str()), ("t", ""));
    assert_eq!(found.id, stored.id());
}

pub async fn test_get_tuple_checkpoint_fields(s: &Saver) {
    let stored = put(s, &config("t"), channels(&[("k", 1, Some(json!("v")))])).await;
    let found = get(s, &stored).await.unwrap();
    let body = read(&found.checkpoint.body);
    assert_eq!((&body["v"], body["id"].as_str()), (&json!(1), Some(stored.id())));
    assert!(body["ts"].is_string() && body["versions_seen"].is_object());
    assert_eq!(body["channel_versions"], json!({ "k": 1 }));
    assert_eq!(values(&found), json!({ "k": "v" }));
}

pub async fn test_get_tuple_metadata(s: &Saver) {
    let draft = Draft { metadata: metadata("input", -1), ..Draft::default() };
    let stored = put(s, &config("t"), draft).await;
    let found = get(s, &stored).await.unwrap().checkpoint.metadata;
    assert_eq!((&found["source"], &found["step"]), (&json!("input"), &json!(-1)));
}

pub async fn test_get_tuple_parent_config(s: &Saver) {
    let line = line(s, "t", "", 2).await;
    assert_eq!(get(s, &line[0]).await.unwrap().checkpoint.parent, None);
    assert_eq!(get(s, &line[1]).await.unwrap().checkpoint.parent, line[0].id);
}

pub async fn test_get_tuple_pending_writes(s: &Saver) {
    let stored = put(s, &config("t"), Draft::default()).await;
    write(s, &stored, "task", &[("ch", json!("val"))]).await;
    assert_eq!(writes(&get(s, &stored).await.unwrap()), [said("task", "ch", json!("val"))]);
}

pub async fn test_get_tuple_respects_namespace(s: &Saver) {
    for namespace in ["", "child:1"] {
        let stored = put(s, &config_in("t", namespace), Draft::default()).await;
        let found = get(s, &config_in("t", namespace)).await.unwrap();
        assert_eq!(found.checkpoint.id, stored.id());
    }
    let root = get(s, &config("t")).await.unwrap().checkpoint;
    let elsewhere = super::support::Config { id: Some(root.id), ..config_in("t", "child:1") };
    assert_eq!(get(s, &elsewhere).await, None);
}

pub async fn test_get_tuple_nonexistent_checkpoint_id(s: &Saver) {
    let mut stored = put(s, &config("t"), Draft::default()).await;
    stored.id = Some("none".to_owned());
    assert_eq!(get(s, &stored).await, None);
}
