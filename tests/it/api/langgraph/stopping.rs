//! Runs at work that are cancelled, displaced, rolled back.

use serde_json::{Value, json};

use super::rig::{Graphs, Live, Puppet, until};
use crate::api::support::Served;

async fn start(served: &Served, thread: &str, body: Value) -> String {
    let (status, run) = served.post(&format!("/threads/{thread}/runs"), body).await;
    assert_eq!(status, 200, "{run}");
    run["run_id"].as_str().unwrap().to_owned()
}

/// Starts a run that works until it is told, and waits until it does.
async fn at_work(served: &Served, thread: &str) -> String {
    let run = start(served, thread, json!({"assistant_id": "waits", "input": {"n": 5}})).await;
    until(served, &format!("/threads/{thread}/state"), |_, state| {
        state["next"] == json!(["hold"]) && state["values"]["n"] == 6
    })
    .await;
    let (_, shown) = served.get(&format!("/threads/{thread}/runs/{run}")).await;
    assert_eq!(shown["status"], "running", "{shown}");
    run
}

async fn statuses(served: &Served, thread: &str) -> Vec<String> {
    let (_, runs) = served.get(&format!("/threads/{thread}/runs")).await;
    let statuses = runs.as_array().unwrap().iter().rev();
    statuses.map(|run| run["status"].as_str().unwrap().to_owned()).collect()
}

async fn history(served: &Served, thread: &str) -> Vec<Value> {
    let (status, states) = served.get(&format!("/threads/{thread}/history?limit=100")).await;
    assert_eq!(status, 200, "{states}");
    states.as_array().unwrap().clone()
}

async fn finished(served: &Served, thread: &str, n: u32) -> Value {
    let body = json!({"assistant_id": "steps", "input": {"n": n}});
    served.post(&format!("/threads/{thread}/runs/wait"), body).await.1
}

#[tokio::test]
async fn a_run_at_work_is_cancelled_and_what_it_wrote_stays() {
    let graphs = Graphs::new();
    let served = graphs.served().await;
    let thread = served.thread().await;
    let run = at_work(&served, &thread).await;
    assert_eq!(served.get(&format!("/threads/{thread}")).await.1["status"], "busy");
    let path = format!("/threads/{thread}/runs/{run}");
    let (status, answer) = served.post_text(&format!("{path}/cancel?wait=1")).await;
    assert_eq!(status, 204, "{answer}");
    assert_eq!(served.get(&path).await.1["status"], "interrupted");
    assert_eq!(served.get(&format!("/threads/{thread}")).await.1["status"], "idle");
    let (_, joined) = served.get(&format!("{path}/join")).await;
    assert_eq!(joined, json!({"n": 6, "log": ["a"]}));
    // The thread takes its next run.
    assert_eq!(finished(&served, &thread, 1).await["n"], 2);
}

#[tokio::test]
async fn a_model_that_is_asked_is_left_when_its_run_is_cancelled() {
    let graphs = Graphs::new();
    let mut puppet = Puppet::start().await;
    let served = graphs.played(&puppet).await;
    let thread = served.thread().await;
    let run = start(&served, &thread, json!({"assistant_id": "talks", "input": {"n": 1}})).await;
    puppet.is_asked().await;
    puppet.says("\"hel");
    let (status, _) = served.post_text(&format!("/threads/{thread}/runs/{run}/cancel")).await;
    assert_eq!(status, 202);
    // Whoever waits for it learns that it was cancelled, and the model need not go on.
    let (_, told) = served.get(&format!("/threads/{thread}/runs/{run}/join")).await;
    assert!(told["__error__"]["error"] == "UserInterrupt" || told["n"] == 2, "{told}");
    puppet.says("lo");
    puppet.is_left().await;
    assert_eq!(statuses(&served, &thread).await, ["interrupted"]);
}

#[tokio::test]
async fn a_first_run_that_is_rolled_back_leaves_an_empty_thread() {
    let graphs = Graphs::new();
    let served = graphs.served().await;
    let thread = served.thread().await;
    let run = at_work(&served, &thread).await;
    let path = format!("/threads/{thread}/runs/{run}");
    let (status, _) = served.post_text(&format!("{path}/cancel?wait=1&action=rollback")).await;
    assert_eq!(status, 204);
    assert_eq!(served.get(&path).await.0, 404, "it is forgotten");
    assert_eq!(history(&served, &thread).await, Vec::<Value>::new());
    let (_, state) = served.get(&format!("/threads/{thread}/state")).await;
    assert_eq!((&state["values"], &state["next"]), (&json!({}), &json!([])));
    assert_eq!(served.get(&format!("/threads/{thread}")).await.1["status"], "idle");
    assert_eq!(finished(&served, &thread, 1).await, json!({"n": 2, "log": ["a", "b", "c"]}));
}

#[tokio::test]
async fn a_later_run_that_is_rolled_back_leaves_the_states_before_it_and_none_of_its_own() {
    let graphs = Graphs::new();
    let served = graphs.served().await;
    let thread = served.thread().await;
    finished(&served, &thread, 1).await;
    let before = history(&served, &thread).await;
    let run = at_work(&served, &thread).await;
    let own = history(&served, &thread).await[0]["checkpoint_id"].as_str().unwrap().to_owned();
    let path = format!("/threads/{thread}/runs/{run}");
    let (status, _) = served.post_text(&format!("{path}/cancel?wait=1&action=rollback")).await;
    assert_eq!(status, 204);
    let (_, state) = served.get(&format!("/threads/{thread}/state")).await;
    assert_eq!(state["values"], json!({"n": 2, "log": ["a", "b", "c"]}));
    assert_eq!(state["next"], json!([]));
    let ids = |states: &[Value]| -> Vec<Value> {
        states.iter().map(|state| state["checkpoint_id"].clone()).collect()
    };
    let after = history(&served, &thread).await;
    // The newest says that the thread was set back; the others are those of before.
    assert_eq!(ids(&after[1..]), ids(&before));
    assert_eq!(after[0]["parent_checkpoint_id"], before[0]["checkpoint_id"], "{}", after[0]);
    assert_eq!(served.get(&format!("/threads/{thread}/state/{own}")).await.0, 404);
    assert_eq!(finished(&served, &thread, 7).await["log"].as_array().unwrap().len(), 6);
}

#[tokio::test]
async fn a_run_displaces_the_one_at_work_and_keeps_or_takes_back_what_it_wrote() {
    let graphs = Graphs::new();
    let served = graphs.served().await;
    for (strategy, log, left) in [
        (
            "interrupt",
            json!(["a", "b", "c", "a", "a", "b", "c"]),
            vec!["success", "interrupted", "success"],
        ),
        ("rollback", json!(["a", "b", "c", "a", "b", "c"]), vec!["success", "success"]),
    ] {
        let thread = served.thread().await;
        finished(&served, &thread, 1).await;
        let kept = history(&served, &thread).await.len();
        at_work(&served, &thread).await;
        let body =
            json!({"assistant_id": "steps", "input": {"n": 8}, "multitask_strategy": strategy});
        let (status, output) = served.post(&format!("/threads/{thread}/runs/wait"), body).await;
        assert_eq!((status, output), (200, json!({"n": 9, "log": log})), "{strategy}");
        assert_eq!(statuses(&served, &thread).await, left, "{strategy}");
        let states = history(&served, &thread).await;
        let own = states.iter().filter(|state| state["values"]["n"] == 6).count();
        assert_eq!(own > 0, strategy == "interrupt", "{strategy}");
        assert!(states.len() >= kept + 4, "{strategy}: the next run's states are all there");
    }
}

#[tokio::test]
async fn a_run_at_work_is_not_displaced_by_one_that_may_only_be_alone() {
    let graphs = Graphs::new();
    let served = graphs.served().await;
    let thread = served.thread().await;
    at_work(&served, &thread).await;
    let body = json!({"assistant_id": "steps", "input": {}, "multitask_strategy": "reject"});
    assert_eq!(served.post(&format!("/threads/{thread}/runs"), body).await.0, 409);
}

#[tokio::test]
async fn many_runs_are_cancelled_by_what_they_do() {
    let graphs = Graphs::new();
    let served = graphs.served().await;
    let (one, two) = (served.thread().await, served.thread().await);
    let working = at_work(&served, &one).await;
    let queued = start(&served, &one, json!({"assistant_id": "steps", "input": {}})).await;
    let later = json!({"assistant_id": "steps", "input": {}, "after_seconds": 3600});
    start(&served, &two, later).await;
    assert_eq!(served.post("/runs/cancel", json!({})).await.0, 422);
    let cancel = |body: Value| {
        let url = format!("{}/runs/cancel", served.base);
        let request = served.client.post(url).json(&body);
        async { request.send().await.unwrap().status().as_u16() }
    };
    assert_eq!(cancel(json!({"status": "pending"})).await, 204);
    assert_eq!(statuses(&served, &one).await, ["running", "interrupted"]);
    assert_eq!(statuses(&served, &two).await, ["interrupted"]);
    assert_eq!(cancel(json!({"status": "pending"})).await, 404, "nothing is left");
    assert_eq!(cancel(json!({"thread_id": one, "run_ids": [queued]})).await, 404, "it has ended");
    assert_eq!(cancel(json!({"thread_id": one, "run_ids": [working]})).await, 204);
    assert_eq!(statuses(&served, &one).await, ["interrupted", "interrupted"]);
    let (first, second) = (at_work(&served, &one).await, at_work(&served, &two).await);
    assert_eq!(cancel(json!({"status": "running"})).await, 204);
    for (thread, run) in [(&one, first), (&two, second)] {
        let (_, run) = served.get(&format!("/threads/{thread}/runs/{run}")).await;
        assert_eq!(run["status"], "interrupted");
    }
}

#[tokio::test]
async fn a_run_goes_with_the_one_who_waits_for_it_where_that_is_wanted() {
    let graphs = Graphs::new();
    let served = graphs.served().await;
    let wait = |thread: &str, word: &str, how: &str| {
        let body = json!({"assistant_id": "waits", "input": {"n": 5}, "on_disconnect": word});
        served.client.post(format!("{}/threads/{thread}/runs/{how}", served.base)).json(&body)
    };
    for how in ["wait", "stream"] {
        for (word, left) in [("cancel", "interrupted"), ("continue", "running")] {
            let thread = served.thread().await;
            let waiting = tokio::spawn(wait(&thread, word, how).send());
            let held = |_, state: &Value| state["next"] == json!(["hold"]);
            until(&served, &format!("/threads/{thread}/state"), held).await;
            waiting.abort();
            let _ = waiting.await;
            let path = format!("/threads/{thread}/runs");
            let runs = until(&served, &path, |_, runs| runs[0]["status"] == left).await;
            let run = runs[0]["run_id"].as_str().unwrap();
            if word == "cancel" {
                continue;
            }
            // Somebody else looks at it, and takes it along when they go.
            let look = if how == "wait" { "join" } else { "stream" };
            let url = format!("{}{path}/{run}/{look}?cancel_on_disconnect=true", served.base);
            if how == "stream" {
                let mut live = Live::open(served.client.get(url)).await;
                live.until("metadata").await;
                drop(live);
                until(&served, &path, |_, runs| runs[0]["status"] == "interrupted").await;
                continue;
            }
            while served.get(&path).await.1[0]["status"] != "interrupted" {
                // Nothing says that a request that waits has come: it goes, and another one comes.
                let joining = tokio::spawn(served.client.get(&url).send());
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                joining.abort();
                let _ = joining.await;
            }
        }
    }
}
