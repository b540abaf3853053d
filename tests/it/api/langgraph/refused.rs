//! What is not there is refused, not ignored; and nothing was started for it.

use serde_json::{Value, json};

use super::rig::Graphs;

#[tokio::test]
async fn what_a_run_cannot_be_given_is_refused_wherever_it_is_asked_for() {
    let graphs = Graphs::new();
    let served = graphs.served().await;
    let thread = served.thread().await;
    for wish in [
        json!({"durability": "exit"}),
        json!({"durability": "never"}),
        json!({"checkpoint_during": false}),
        json!({"stream_mode": "events"}),
        json!({"stream_mode": ["values", "events"]}),
        json!({"feedback_keys": ["thumb"]}),
        json!({"config": {"recursion_limit": 0}}),
        json!({"config": {"recursion_limit": "many"}}),
    ] {
        let mut body = json!({"assistant_id": "steps", "input": {"n": 1}, "schedule": "* * * * *"});
        body.as_object_mut().unwrap().extend(wish.as_object().unwrap().clone());
        for path in [
            format!("/threads/{thread}/runs"),
            format!("/threads/{thread}/runs/wait"),
            format!("/threads/{thread}/runs/stream"),
            "/runs/wait".to_owned(),
            "/runs/crons".to_owned(),
        ] {
            let (status, refused) = served.post(&path, body.clone()).await;
            assert_eq!(status, 422, "{path} {wish} {refused}");
        }
        assert_eq!(served.post("/runs/batch", json!([body])).await.0, 422, "{wish}");
    }
    assert_eq!(served.get(&format!("/threads/{thread}/runs")).await.1, json!([]));
    assert_eq!(served.post("/runs/crons/count", json!({})).await.1, json!(0));
    assert_eq!(served.post("/threads/count", json!({})).await.1, json!(1));
}

#[tokio::test]
async fn how_durable_a_run_was_wanted_is_what_its_record_says() {
    let graphs = Graphs::new();
    let served = graphs.served().await;
    let thread = served.thread().await;
    for (wish, shown) in [(json!({}), "async"), (json!({"durability": "sync"}), "sync")] {
        let mut body = json!({"assistant_id": "steps", "input": {"n": 1}});
        body.as_object_mut().unwrap().extend(wish.as_object().unwrap().clone());
        let (status, run) = served.post(&format!("/threads/{thread}/runs"), body).await;
        assert_eq!((status, &run["kwargs"]["durability"]), (200, &json!(shown)));
    }
}

#[tokio::test]
async fn what_threads_and_items_cannot_be_given_is_refused() {
    let graphs = Graphs::new();
    let served = graphs.served().await;
    let thread = served.thread().await;
    let ttl = json!({"ttl": {"ttl": 5, "strategy": "delete"}});
    let item = |more: Value| {
        let mut item = json!({"namespace": ["a"], "key": "k", "value": {}});
        item.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        item
    };
    for (method, path, body, wanted) in [
        ("PATCH", format!("/threads/{thread}"), ttl.clone(), 422),
        ("POST", "/threads".to_owned(), ttl, 422),
        ("PATCH", format!("/threads/{thread}"), json!({"ttl": null}), 200),
        ("POST", "/threads/search".to_owned(), json!({"extract": {"a": "$.b"}}), 422),
        ("POST", "/threads/search".to_owned(), json!({"extract": {}}), 200),
        ("PUT", "/store/items".to_owned(), item(json!({"index": ["title"]})), 422),
        ("PUT", "/store/items".to_owned(), item(json!({"index": false})), 204),
        ("PUT", "/store/items".to_owned(), item(json!({"ttl": 5})), 422),
        ("POST", "/store/items/search".to_owned(), json!({"refresh_ttl": true}), 422),
        ("POST", "/store/items/search".to_owned(), json!({"refresh_ttl": false}), 200),
        ("GET", format!("/threads/{thread}?include=ttl"), json!({}), 422),
        ("GET", "/store/items?namespace=a&key=k&refresh_ttl=true".to_owned(), json!({}), 422),
        ("GET", "/ok?check_db=2".to_owned(), json!({}), 422),
        ("GET", "/ok?check_db=1".to_owned(), json!({}), 200),
    ] {
        let (status, answer) = served.send(method, &path, body.clone()).await;
        assert_eq!(status, wanted, "{method} {path} {body} {answer}");
    }
}

#[tokio::test]
async fn an_assistant_goes_with_its_threads_where_that_is_wanted() {
    let graphs = Graphs::new();
    let served = graphs.served().await;
    let (_, made) = served.post("/assistants", json!({"graph_id": "steps"})).await;
    let id = made["assistant_id"].as_str().unwrap();
    let (own, other) = (served.thread().await, served.thread().await);
    for (thread, assistant) in [(&own, id), (&other, "steps")] {
        let body = json!({"assistant_id": assistant, "input": {"n": 1}});
        served.post(&format!("/threads/{thread}/runs/wait"), body).await;
    }
    assert_eq!(served.delete(&format!("/assistants/{id}?delete_threads=true")).await, 204);
    assert_eq!(served.get(&format!("/threads/{own}")).await.0, 404);
    assert_eq!(served.get(&format!("/threads/{other}")).await.0, 200);
}

#[tokio::test]
async fn a_run_takes_no_more_supersteps_than_it_is_given() {
    let graphs = Graphs::new();
    let served = graphs.served().await;
    let run = |limit: u64| json!({"assistant_id": "steps", "input": {"n": 1}, "config": {"recursion_limit": limit}});
    for (limit, log) in [(3, json!(["a", "b", "c"])), (10_000, json!(["a", "b", "c"]))] {
        let (_, output) = served.post("/runs/wait", run(limit)).await;
        assert_eq!(output["log"], log, "{limit}");
    }
    let thread = served.thread().await;
    let path = format!("/threads/{thread}/runs");
    let (_, stopped) = served.post(&format!("{path}/wait"), run(2)).await;
    assert_eq!(stopped["__error__"]["error"], "runtime.limit_reached", "{stopped}");
    assert_eq!(served.get(&path).await.1[0]["status"], "error");
    let (_, state) = served.get(&format!("/threads/{thread}/state")).await;
    assert_eq!((&state["values"]["log"], &state["next"]), (&json!(["a", "b"]), &json!(["c"])));
    let (_, made) = served
        .post("/assistants", json!({"graph_id": "steps", "config": {"recursion_limit": 1}}))
        .await;
    let body = json!({"assistant_id": made["assistant_id"], "input": {"n": 1}});
    let (_, stopped) = served.post("/runs/wait", body).await;
    assert_eq!(stopped["__error__"]["error"], "runtime.limit_reached", "{stopped}");
}
