//! Runs that are queued, displaced, cancelled, held, put off.

use serde_json::{Value, json};

use crate::api::support::Served;

async fn statuses(served: &Served, thread: &str) -> Vec<String> {
    let (_, runs) = served.get(&format!("/threads/{thread}/runs")).await;
    let statuses = runs.as_array().unwrap().iter().rev();
    statuses.map(|run| run["status"].as_str().unwrap().to_owned()).collect()
}

async fn join(served: &Served, thread: &str, run: &Value) -> Value {
    let id = run["run_id"].as_str().unwrap();
    served.get(&format!("/threads/{thread}/runs/{id}/join")).await.1
}

#[tokio::test]
async fn queued_runs_take_their_turns_and_each_sees_what_the_one_before_wrote() {
    let served = Served::with_test_graphs("memory:").await;
    let thread = served.thread().await;
    let path = format!("/threads/{thread}/runs");
    let mut runs = Vec::new();
    for n in 0..5 {
        let (status, run) =
            served.post(&path, json!({"assistant_id": "trivial", "input": {"n": n}})).await;
        assert_eq!(status, 200, "{run}");
        runs.push(run);
    }
    for (n, run) in runs.iter().enumerate() {
        join(&served, &thread, run).await;
        let _ = n;
    }
    let (_, state) = served.get(&format!("/threads/{thread}/state")).await;
    assert_eq!(state["values"], json!({"n": 5, "log": ["a", "a", "a", "a", "a"]}));
    assert_eq!(statuses(&served, &thread).await, ["success"; 5]);
}

#[tokio::test]
async fn a_new_input_goes_on_without_the_answer_to_an_open_question() {
    let served = Served::with_test_graphs("memory:").await;
    let thread = served.thread().await;
    let path = format!("/threads/{thread}/runs/wait");
    served.post(&path, json!({"assistant_id": "hitl", "input": {"n": 1}})).await;
    let (_, output) =
        served.post(&path, json!({"assistant_id": "trivial", "input": {"n": 7}})).await;
    assert_eq!(output, json!({"n": 8, "log": ["a", "a"]}));
    let resume = json!({"assistant_id": "hitl", "command": {"resume": "late"}});
    assert_eq!(served.post(&path, resume).await.0, 409);
}

#[tokio::test]
async fn a_queued_run_does_not_wait_for_the_answer_to_a_question() {
    let served = Served::with_test_graphs("memory:").await;
    let thread = served.thread().await;
    let path = format!("/threads/{thread}/runs");
    served.post(&path, json!({"assistant_id": "hitl", "input": {"n": 1}})).await;
    let (_, second) =
        served.post(&path, json!({"assistant_id": "trivial", "input": {"n": 5}})).await;
    let output = join(&served, &thread, &second).await;
    assert_eq!(output["n"], 6, "{output}");
}

#[tokio::test]
async fn a_run_that_is_put_off_can_be_cancelled_and_displaced() {
    let served = Served::with_test_graphs("memory:").await;
    let thread = served.thread().await;
    let path = format!("/threads/{thread}/runs");
    let later = |strategy: &str| json!({"assistant_id": "trivial", "input": {"n": 1}, "after_seconds": 3600, "multitask_strategy": strategy});
    let (_, first) = served.post(&path, later("enqueue")).await;
    assert_eq!(first["status"], "pending");
    assert_eq!(served.get(&format!("/threads/{thread}")).await.1["status"], "busy");
    assert_eq!(served.post(&path, later("reject")).await.0, 409);
    let (_, second) = served.post(&path, later("interrupt")).await;
    assert_eq!(statuses(&served, &thread).await, ["interrupted", "pending"]);
    let (_, third) = served.post(&path, later("rollback")).await;
    let id = third["run_id"].as_str().unwrap();
    assert_eq!(statuses(&served, &thread).await, ["interrupted", "pending"]);
    assert_ne!(second["run_id"], third["run_id"]);
    let cancel = format!("{path}/{id}/cancel?wait=1");
    assert_eq!(served.post_text(&cancel).await.0, 204);
    assert_eq!(served.post_text(&cancel).await.0, 404);
    assert_eq!(served.get(&format!("/threads/{thread}")).await.1["status"], "idle");
}

#[tokio::test]
async fn a_run_held_before_a_node_goes_on_without_input() {
    let served = Served::with_test_graphs("memory:").await;
    let thread = served.thread().await;
    let path = format!("/threads/{thread}/runs/wait");
    let held = json!({"assistant_id": "trivial", "input": {"n": 1}, "interrupt_before": ["a"]});
    let (_, output) = served.post(&path, held).await;
    assert_eq!(output, json!({"n": 1, "log": []}));
    let (_, state) = served.get(&format!("/threads/{thread}/state")).await;
    assert_eq!(state["next"], json!(["a"]));
    let (_, output) = served.post(&path, json!({"assistant_id": "trivial", "input": null})).await;
    assert_eq!(output, json!({"n": 2, "log": ["a"]}));
    let unknown = json!({"assistant_id": "trivial", "input": {}, "interrupt_after": ["z"]});
    assert_eq!(served.post(&path, unknown).await.0, 404);
}

#[tokio::test]
async fn a_run_that_was_put_off_starts_under_the_next_server() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", folder.path().join("runs.db").display());
    let served = Served::with_test_graphs(&store).await;
    let thread = served.thread().await;
    let later = json!({"assistant_id": "trivial", "input": {"n": 1}, "after_seconds": 0.5});
    let (_, run) = served.post(&format!("/threads/{thread}/runs"), later).await;
    served.stop().await;
    let served = Served::with_test_graphs(&store).await;
    assert_eq!(join(&served, &thread, &run).await, json!({"n": 2, "log": ["a"]}));
    served.stop().await;
}
