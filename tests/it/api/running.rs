//! Runs that are waited for, and runs that are watched.

use perf_agent::base::{SseEvent, SseReader};
use serde_json::{Value, json};

use super::support::{GOAL, Served};

#[tokio::test]
async fn a_waited_for_run_gives_the_graphs_output() {
    let served = Served::start().await;
    let thread = served.thread().await;
    let body = json!({"assistant_id": "watch", "input": {"goal": GOAL}});
    let (status, output) = served.post(&format!("/threads/{thread}/runs/wait"), body).await;
    assert_eq!(status, 200, "{output}");
    assert!(output["diagnosis"]["bottleneck"].is_string(), "{output}");
    let (_, state) = served.get(&format!("/threads/{thread}/state")).await;
    assert_eq!(state["status"], "done");
    assert_eq!(state["values"]["diagnosis"], output["diagnosis"]);
}

#[tokio::test]
async fn a_run_that_asks_gives_its_question_and_goes_on_with_the_answer() {
    let served = Served::start().await;
    let thread = served.thread().await;
    let path = format!("/threads/{thread}/runs/wait");
    let body = json!({"assistant_id": "optimize", "input": {"goal": GOAL}});
    let (_, asked) = served.post(&path, body).await;
    assert!(asked["__interrupt__"][0]["value"]["text"].is_string(), "{asked}");
    let body = json!({"assistant_id": "optimize", "command": {"resume": "maybe"}});
    let (status, misfit) = served.post(&path, body).await;
    assert_eq!((status, &misfit["code"]), (422, &"runtime.answer_invalid".into()));
    let body = json!({"assistant_id": "optimize", "command": {"resume": "reject"}});
    let (_, output) = served.post(&path, body).await;
    assert!(output["report"]["headline"].is_string(), "{output}");
}

/// The events of a stream: name, id, data.
async fn events(served: &Served, thread: &str, body: Value) -> Vec<(String, String, Value)> {
    let url = format!("{}/threads/{thread}/runs/stream", served.base);
    let response = served.client.post(url).json(&body).send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let text = response.text().await.unwrap();
    let mut data = Vec::new();
    SseReader::new(1 << 22).feed(text.as_bytes(), |event| match event {
        SseEvent::Data(bytes) => data.push(serde_json::from_slice(bytes).unwrap()),
        SseEvent::TooLong => panic!("an event of over 4 MiB"),
    });
    let field = |block: &str, name: &str| {
        let value = block.lines().find_map(|line| line.strip_prefix(name));
        value.unwrap_or_default().trim().to_owned()
    };
    let blocks = text.split("\n\n").filter(|block| block.contains("data:"));
    blocks.zip(data).map(|(b, data)| (field(b, "event:"), field(b, "id:"), data)).collect()
}

#[tokio::test]
async fn a_stream_begins_with_metadata_and_sends_updates_in_the_order_of_the_graph() {
    let served = Served::start().await;
    let thread = served.thread().await;
    let body = json!({"assistant_id": "watch", "input": {"goal": GOAL}});
    let events = events(&served, &thread, body).await;
    assert_eq!(events[0].0, "metadata");
    assert!(events[0].2["run_id"].is_string());
    let nodes: Vec<&String> = events
        .iter()
        .filter(|(name, ..)| name == "updates")
        .flat_map(|(.., data)| data.as_object().unwrap().keys())
        .collect();
    assert_eq!(nodes, ["understand", "observe", "diagnose"]);
    assert!(events.iter().any(|(name, _, data)| name == "custom" && data["tool"].is_string()));
    let ids: Vec<u64> = events[1..].iter().map(|(_, id, _)| id.parse().unwrap()).collect();
    assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
}

#[tokio::test]
async fn a_stream_sends_only_the_modes_asked_for_and_ends_at_a_question() {
    let served = Served::start().await;
    let thread = served.thread().await;
    let start =
        json!({"assistant_id": "optimize", "input": {"goal": GOAL}, "stream_mode": "updates"});
    let asked = events(&served, &thread, start).await;
    assert!(asked[1..].iter().all(|(name, ..)| name == "updates"));
    assert!(asked.last().unwrap().2["__interrupt__"][0]["id"].is_string());
    let resume = json!({"assistant_id": "optimize", "command": {"resume": "reject"}, "stream_mode": ["updates"]});
    let rest = events(&served, &thread, resume).await;
    assert_eq!(rest[0].2["run_id"], asked[0].2["run_id"]);
    let nodes: Vec<&String> =
        rest[1..].iter().flat_map(|(.., data)| data.as_object().unwrap().keys()).collect();
    assert_eq!(nodes, ["approve", "report"]);
}
