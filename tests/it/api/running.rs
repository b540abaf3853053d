//! Runs that are waited for, and runs that are watched.

use serde_json::json;

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
    assert_eq!(state["next"], json!([]));
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
    assert_eq!(status, 422);
    assert!(misfit["detail"].as_str().unwrap().contains("answer"), "{misfit}");
    let body = json!({"assistant_id": "optimize", "command": {"resume": "reject"}});
    let (_, output) = served.post(&path, body).await;
    assert!(output["report"]["headline"].is_string(), "{output}");
}

#[tokio::test]
async fn a_stream_begins_with_metadata_and_sends_updates_in_the_order_of_the_graph() {
    let served = Served::start().await;
    let thread = served.thread().await;
    let path = format!("/threads/{thread}/runs/stream");
    let body = json!({
        "assistant_id": "watch", "input": {"goal": GOAL}, "stream_mode": ["updates", "custom"],
        "stream_resumable": true,
    });
    let events = served.events(&path, body).await;
    assert_eq!(events[0].0, "metadata");
    assert!(events[0].2["run_id"].is_string());
    let nodes: Vec<&String> = events
        .iter()
        .filter(|(name, ..)| name == "updates")
        .flat_map(|(.., data)| data.as_object().unwrap().keys())
        .collect();
    assert_eq!(nodes, ["understand", "observe", "diagnose"]);
    assert!(events.iter().any(|(name, _, data)| name == "custom" && data["tool"].is_string()));
    let ids: Vec<(u64, u64)> = events
        .iter()
        .map(|(_, id, _)| id.split_once('-').unwrap())
        .map(|(seq, n)| (seq.parse().unwrap(), n.parse().unwrap()))
        .collect();
    assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
}

#[tokio::test]
async fn a_stream_sends_only_the_modes_asked_for_and_ends_at_a_question() {
    let served = Served::start().await;
    let thread = served.thread().await;
    let path = format!("/threads/{thread}/runs/stream");
    let start =
        json!({"assistant_id": "optimize", "input": {"goal": GOAL}, "stream_mode": "updates"});
    let asked = served.events(&path, start).await;
    assert!(asked[1..].iter().all(|(name, ..)| name == "updates"));
    assert!(asked.last().unwrap().2["__interrupt__"][0]["id"].is_string());
    let resume = json!({"assistant_id": "optimize", "command": {"resume": "reject"}, "stream_mode": ["updates"]});
    let rest = served.events(&path, resume).await;
    let nodes: Vec<&String> =
        rest[1..].iter().flat_map(|(.., data)| data.as_object().unwrap().keys()).collect();
    assert_eq!(nodes, ["approve", "report"]);
}
