//! Streams that are cut and gone on with.

use serde_json::{Value, json};

use crate::api::support::{Served, events};

fn names(events: &[(String, String, Value)]) -> Vec<&str> {
    events.iter().map(|(name, ..)| name.as_str()).collect()
}

#[tokio::test]
async fn a_stream_is_gone_on_with_after_any_of_its_events() {
    let served = Served::with_test_graphs("memory:").await;
    let thread = served.thread().await;
    let run = json!({
        "assistant_id": "trivial", "input": {"n": 1}, "stream_resumable": true,
        "stream_mode": ["values", "updates"],
    });
    let path = format!("/threads/{thread}/runs/stream");
    let request = served.client.post(format!("{}{path}", served.base)).json(&run);
    let response = request.send().await.unwrap();
    let place = response.headers()["content-location"].to_str().unwrap().to_owned();
    let all = events(&response.text().await.unwrap());
    assert_eq!(names(&all), ["metadata", "values", "updates", "values"]);
    for (at, (_, id, _)) in all.iter().enumerate() {
        let request = served.client.get(format!("{}{place}/stream", served.base));
        let response = request.header("last-event-id", id).send().await.unwrap();
        let rest = events(&response.text().await.unwrap());
        assert_eq!(rest, all[at + 1..], "after {id}");
    }
    let request = served.client.get(format!("{}{place}/stream?stream_mode=updates", served.base));
    let response = request.header("last-event-id", "-1").send().await.unwrap();
    assert_eq!(names(&events(&response.text().await.unwrap())), ["metadata", "updates"]);
}

#[tokio::test]
async fn a_stream_with_a_question_says_so_and_the_answer_is_a_run_of_its_own() {
    let served = Served::with_test_graphs("memory:").await;
    let thread = served.thread().await;
    let path = format!("/threads/{thread}/runs/stream");
    let run = json!({"assistant_id": "hitl", "input": {"n": 1}, "stream_mode": "updates"});
    let asked = served.events(&path, run).await;
    assert_eq!(asked.last().unwrap().2["__interrupt__"][0]["value"], json!({"q": "ok?"}));
    let answer = json!({"assistant_id": "hitl", "command": {"resume": "yes"}, "stream_mode": ["values", "updates"]});
    let rest = served.events(&path, answer).await;
    assert_ne!(rest[0].2["run_id"], asked[0].2["run_id"]);
    assert_eq!(names(&rest), ["metadata", "values", "updates", "values", "updates", "values"]);
    assert_eq!(rest.last().unwrap().2, json!({"n": 2, "log": ["a", "answer=yes"]}));
    let (_, runs) = served.get(&format!("/threads/{thread}/runs")).await;
    let statuses: Vec<&Value> = runs.as_array().unwrap().iter().map(|run| &run["status"]).collect();
    assert_eq!(statuses, ["success", "interrupted"]);
}

#[tokio::test]
async fn what_happens_on_a_thread_is_seen_whoever_starts_it() {
    let served = Served::with_test_graphs("memory:").await;
    let thread = served.thread().await;
    let url = format!("{}/threads/{thread}/stream", served.base);
    let mut response = served.client.get(url).send().await.unwrap();
    let run = json!({"assistant_id": "trivial", "input": {"n": 1}, "stream_mode": "updates"});
    served.post(&format!("/threads/{thread}/runs/wait"), run).await;
    let mut text = String::new();
    while !text.contains("updates") {
        text.push_str(std::str::from_utf8(&response.chunk().await.unwrap().unwrap()).unwrap());
    }
    assert!(text.find("metadata") < text.find("updates"), "{text}");
}

#[tokio::test]
async fn an_error_is_the_last_event_and_the_answer_of_those_who_wait() {
    let served = Served::start().await;
    let thread = served.thread().await;
    let run = json!({"assistant_id": "watch", "input": {"goal": "make it nice"}});
    let (status, waited) = served.post(&format!("/threads/{thread}/runs/wait"), run.clone()).await;
    assert_eq!(status, 200);
    assert!(waited["__error__"]["message"].is_string(), "{waited}");
    let events = served.events(&format!("/threads/{thread}/runs/stream"), run).await;
    assert_eq!(events.last().unwrap().0, "error");
    assert_eq!(served.get(&format!("/threads/{thread}")).await.1["status"], "error");
}
