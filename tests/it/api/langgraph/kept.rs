//! Items, crons and webhooks.

use serde_json::{Value, json};

use crate::api::support::Served;

#[tokio::test]
async fn items_are_found_by_namespace_and_by_what_is_in_them() {
    let served = Served::with_test_graphs("memory:").await;
    for (namespace, key, value) in [
        (json!(["docs", "u1"]), "a", json!({"title": "x", "rank": 1})),
        (json!(["docs", "u2"]), "a", json!({"title": "y", "rank": 2})),
        (json!(["docs", "u2", "deep"]), "b", json!({"title": "y", "rank": 3})),
        (json!(["notes"]), "a", json!({"title": "x", "rank": 4})),
    ] {
        let body = json!({"namespace": namespace, "key": key, "value": value});
        assert_eq!(served.send("PUT", "/store/items", body).await.0, 204);
    }
    for (search, wanted) in [
        (json!({"namespace_prefix": ["docs"]}), 3),
        (json!({"namespace_prefix": ["docs"], "filter": {"title": "y"}}), 2),
        (json!({"namespace_prefix": [], "filter": {"rank": {"$gte": 3}}}), 2),
        (json!({"namespace_prefix": ["doc"]}), 0),
    ] {
        let (_, found) = served.post("/store/items/search", search.clone()).await;
        assert_eq!(found["items"].as_array().unwrap().len(), wanted, "{search} {found}");
    }
    let (_, found) =
        served.post("/store/namespaces", json!({"prefix": ["docs"], "max_depth": 2})).await;
    assert_eq!(found, json!({"namespaces": [["docs", "u1"], ["docs", "u2"]]}));
    let (_, item) = served.get("/store/items?namespace=docs.u1&key=a").await;
    assert_eq!(item["value"]["title"], "x");
    let gone = json!({"namespace": ["docs", "u1"], "key": "a"});
    assert_eq!(served.send("DELETE", "/store/items", gone).await.0, 204);
    assert_eq!(served.get("/store/items?namespace=docs.u1&key=a").await, (200, Value::Null));
    let bad = json!({"namespace": ["a.b"], "key": "a", "value": {}});
    assert_eq!(served.send("PUT", "/store/items", bad).await.0, 422);
}

#[tokio::test]
async fn a_cron_survives_a_restart_and_goes_with_its_thread() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", folder.path().join("runs.db").display());
    let served = Served::with_test_graphs(&store).await;
    let thread = served.thread().await;
    let body = json!({
        "assistant_id": "trivial", "schedule": "0 9 * * mon-fri", "timezone": "Europe/Berlin", "input": {"n": 1},
    });
    let path = format!("/threads/{thread}/runs/crons");
    let (status, cron) = served.post(&path, body).await;
    assert_eq!(status, 200, "{cron}");
    served.stop().await;
    let served = Served::with_test_graphs(&store).await;
    let id = cron["cron_id"].as_str().unwrap();
    assert_eq!(served.get(&format!("/runs/crons/{id}")).await.1, cron);
    assert_eq!(served.delete(&format!("/threads/{thread}")).await, 204);
    assert_eq!(served.get(&format!("/runs/crons/{id}")).await.0, 404);
    served.stop().await;
}

#[tokio::test]
async fn what_no_cron_can_be_made_of_is_refused() {
    let served = Served::with_test_graphs("memory:").await;
    for bad in [
        json!({"assistant_id": "trivial", "schedule": "every day"}),
        json!({"assistant_id": "nope", "schedule": "* * * * *"}),
        json!({"assistant_id": "trivial", "schedule": "* * * * *", "timezone": "Mars"}),
        json!({"assistant_id": "trivial", "schedule": "* * * * *", "webhook": "http://169.254.169.254/"}),
        json!({"assistant_id": "trivial", "schedule": "* * * * *", "multitask_strategy": "fight"}),
    ] {
        let (status, problem) = served.post("/runs/crons", bad.clone()).await;
        assert_eq!(status, 422, "{bad} {problem}");
        assert!(problem["detail"].is_string());
    }
}

#[tokio::test]
async fn a_webhook_to_an_address_inside_is_refused_and_nothing_runs() {
    let served = Served::with_test_graphs("memory:").await;
    let thread = served.thread().await;
    for url in ["http://127.0.0.1:1/x", "http://[::ffff:10.0.0.1]/", "file:///etc/passwd"] {
        let run = json!({"assistant_id": "trivial", "input": {"n": 1}, "webhook": url});
        let (status, _) = served.post(&format!("/threads/{thread}/runs"), run).await;
        assert_eq!(status, 422, "{url}");
    }
    assert_eq!(served.get(&format!("/threads/{thread}/runs")).await.1, json!([]));
}
