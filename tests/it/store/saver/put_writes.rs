//! `put_writes`: writes that follow a checkpoint, once each.

use serde_json::json;

use super::support::{
    Draft, Saver, config, config_in, get, put, said, step, write, write_of, writes,
};

pub async fn test_put_writes_basic(s: &Saver) {
    let stored = put(s, &config("t"), Draft::default()).await;
    write(s, &stored, "task", &[("channel1", json!("value1"))]).await;
    let found = writes(&get(s, &stored).await.unwrap());
    assert_eq!(found, [said("task", "channel1", json!("value1"))]);
}

pub async fn test_put_writes_multiple_writes_same_task(s: &Saver) {
    let stored = put(s, &config("t"), Draft::default()).await;
    let given = [("ch1", json!("v1")), ("ch2", json!("v2")), ("ch3", json!("v3"))];
    write(s, &stored, "task", &given).await;
    let found = writes(&get(s, &stored).await.unwrap());
    assert_eq!(found, given.map(|(channel, value)| said("task", channel, value)));
}

pub async fn test_put_writes_multiple_tasks(s: &Saver) {
    let stored = put(s, &config("t"), Draft::default()).await;
    write(s, &stored, "t1", &[("ch", json!("from_t1"))]).await;
    write(s, &stored, "t2", &[("ch", json!("from_t2"))]).await;
    let found = writes(&get(s, &stored).await.unwrap());
    assert_eq!(found, [said("t1", "ch", json!("from_t1")), said("t2", "ch", json!("from_t2"))]);
}

pub async fn test_put_writes_preserves_task_id(s: &Saver) {
    let stored = put(s, &config("t"), Draft::default()).await;
    write(s, &stored, "my task", &[("ch", json!("val"))]).await;
    assert_eq!(get(s, &stored).await.unwrap().writes[0].task, "my task");
}

pub async fn test_put_writes_preserves_channel_and_value(s: &Saver) {
    let stored = put(s, &config("t"), Draft::default()).await;
    write(s, &stored, "task", &[("my_channel", json!({ "data": 123 }))]).await;
    let found = writes(&get(s, &stored).await.unwrap());
    assert_eq!(found, [said("task", "my_channel", json!({ "data": 123 }))]);
}

pub async fn test_put_writes_task_path(s: &Saver) {
    let stored = put(s, &config("t"), Draft::default()).await;
    let given = vec![write_of("task", "a:b:c", 0, "ch", &json!("v"))];
    s.save_writes(&stored.scope, stored.id(), given.clone()).await.unwrap();
    assert_eq!(get(s, &stored).await.unwrap().writes, given);
}

pub async fn test_put_writes_idempotent(s: &Saver) {
    let stored = put(s, &config("t"), Draft::default()).await;
    for value in ["val", "another"] {
        write(s, &stored, "task", &[("ch", json!(value))]).await;
    }
    let found = writes(&get(s, &stored).await.unwrap());
    assert_eq!(found, [said("task", "ch", json!("val"))]);
}

pub async fn test_put_writes_special_channels(s: &Saver) {
    let stored = put(s, &config("t"), Draft::default()).await;
    let given = [("__error__", json!("wrong")), ("__interrupt__", json!({ "reason": "input" }))];
    write(s, &stored, "task", &given).await;
    // The last word counts where a task has one.
    write(s, &stored, "task", &[("__error__", json!("worse"))]).await;
    let mut found = writes(&get(s, &stored).await.unwrap());
    found.sort_by(|a, b| a.1.cmp(&b.1));
    let interrupt = said("task", "__interrupt__", json!({ "reason": "input" }));
    assert_eq!(found, [said("task", "__error__", json!("worse")), interrupt]);
}

pub async fn test_put_writes_across_namespaces(s: &Saver) {
    for namespace in ["", "child:1"] {
        let stored = put(s, &config_in("t", namespace), Draft::default()).await;
        write(s, &stored, "task", &[("ch", json!(namespace))]).await;
    }
    for namespace in ["", "child:1"] {
        let found = get(s, &config_in("t", namespace)).await.unwrap();
        assert_eq!(writes(&found), [said("task", "ch", json!(namespace))]);
    }
}

pub async fn test_put_writes_cleared_on_next_checkpoint(s: &Saver) {
    let first = put(s, &config("t"), step(0)).await;
    write(s, &first, "task", &[("ch", json!("old_write"))]).await;
    let second = put(s, &first, step(1)).await;
    assert!(get(s, &second).await.unwrap().writes.is_empty());
}
