//! States of a thread: read, changed by hand, gone on from.

use serde_json::{Value, json};

use crate::api::support::Served;

async fn history(served: &Served, thread: &str) -> Vec<Value> {
    let (status, states) =
        served.post(&format!("/threads/{thread}/history"), json!({"limit": 100})).await;
    assert_eq!(status, 200, "{states}");
    states.as_array().unwrap().clone()
}

#[tokio::test]
async fn every_state_is_found_by_its_id_and_leads_to_its_parent() {
    let served = Served::with_test_graphs("memory:").await;
    let thread = served.thread().await;
    let path = format!("/threads/{thread}/runs/wait");
    served.post(&path, json!({"assistant_id": "hitl", "input": {"n": 1}})).await;
    served.post(&path, json!({"assistant_id": "hitl", "command": {"resume": "yes"}})).await;
    served.post(&path, json!({"assistant_id": "trivial", "input": {"n": 4}})).await;
    let states = history(&served, &thread).await;
    let steps: Vec<i64> = states.iter().map(|s| s["metadata"]["step"].as_i64().unwrap()).collect();
    assert_eq!(steps, [6, 5, 4, 3, 2, 1, 0, -1]);
    let sources: Vec<&Value> = states.iter().map(|s| &s["metadata"]["source"]).collect();
    assert_eq!(sources, ["loop", "loop", "input", "loop", "loop", "loop", "loop", "input"]);
    for (ix, state) in states.iter().enumerate() {
        let id = state["checkpoint_id"].as_str().unwrap();
        let body = json!({"checkpoint": {"checkpoint_id": id}});
        let (status, again) =
            served.post(&format!("/threads/{thread}/state/checkpoint"), body).await;
        assert_eq!((status, &again), (200, state));
        let parent = states.get(ix + 1).map_or(&Value::Null, |parent| &parent["checkpoint_id"]);
        assert_eq!(&state["parent_checkpoint_id"], parent, "{ix}");
        let body = json!({"before": id, "limit": 100});
        let (_, before) = served.post(&format!("/threads/{thread}/history"), body).await;
        assert_eq!(before.as_array().unwrap(), &states[ix + 1..]);
    }
    let asked = states.iter().find(|s| s["next"] == json!(["ask"])).unwrap();
    assert_eq!(asked["tasks"][0]["interrupts"][0]["value"], json!({"q": "ok?"}));
    assert_eq!(asked["tasks"][0]["result"], json!({"answer": "yes"}));
    let (status, _) = served.get(&format!("/threads/{thread}/state/{thread}")).await;
    assert_eq!(status, 404);
}

#[tokio::test]
async fn a_run_goes_on_from_an_earlier_state_with_and_without_an_input() {
    let served = Served::with_test_graphs("memory:").await;
    let thread = served.thread().await;
    let path = format!("/threads/{thread}/runs/wait");
    for n in [1, 10] {
        served.post(&path, json!({"assistant_id": "trivial", "input": {"n": n}})).await;
    }
    let states = history(&served, &thread).await;
    // The last input, the same once more, and the first one.
    for (ix, wanted) in [
        (2, json!({"n": 11, "log": ["a", "a"]})),
        (1, json!({"n": 11, "log": ["a", "a"]})),
        (5, json!({"n": 2, "log": ["a"]})),
    ] {
        let body = json!({"assistant_id": "trivial", "input": null, "checkpoint_id": states[ix]["checkpoint_id"]});
        assert_eq!(served.post(&path, body).await, (200, wanted), "{ix}");
        let newest = &history(&served, &thread).await[0];
        assert_ne!(newest["parent_checkpoint_id"], Value::Null);
    }
    for (ix, wanted) in
        [(2, json!({"n": 8, "log": ["a", "a"]})), (5, json!({"n": 8, "log": ["a"]}))]
    {
        let body = json!({"assistant_id": "trivial", "input": {"n": 7}, "checkpoint_id": states[ix]["checkpoint_id"]});
        assert_eq!(served.post(&path, body).await, (200, wanted), "{ix}");
    }
    let branch = history(&served, &thread).await;
    let input = branch.iter().find(|s| s["metadata"]["source"] == "input").unwrap();
    assert_eq!(input["parent_checkpoint_id"], Value::Null, "it grew from before the first run");
}

#[tokio::test]
async fn a_state_is_changed_by_hand_through_the_channels_reducers() {
    let served = Served::with_test_graphs("memory:").await;
    let thread = served.thread().await;
    let path = format!("/threads/{thread}/state");
    let change = json!({"values": {"n": 5}, "as_node": "a"});
    assert_eq!(served.post(&path, change.clone()).await.0, 422, "no graph yet");
    let run = json!({"assistant_id": "hitl", "input": {"n": 1}, "interrupt_before": ["a"]});
    served.post(&format!("/threads/{thread}/runs/wait"), run).await;
    let (status, changed) =
        served.post(&path, json!({"values": {"n": 5, "log": ["me"]}, "as_node": "a"})).await;
    assert_eq!(status, 200, "{changed}");
    let (_, state) = served.get(&path).await;
    assert_eq!(state["checkpoint"]["checkpoint_id"], changed["checkpoint_id"]);
    assert_eq!((&state["values"]["log"], &state["next"]), (&json!(["me"]), &json!(["ask"])));
    assert_eq!(state["metadata"]["source"], "update");
    for bad in [
        json!({"values": {"m": 5}}),
        json!({"values": {"n": "five"}}),
        json!({"values": {}, "as_node": "z"}),
    ] {
        let (status, problem) = served.post(&path, bad.clone()).await;
        assert!((400..500).contains(&status), "{bad} {problem}");
    }
}

#[tokio::test]
async fn a_copy_goes_its_own_way() {
    let served = Served::with_test_graphs("memory:").await;
    let thread = served.thread().await;
    let run = |n: u32| json!({"assistant_id": "trivial", "input": {"n": n}});
    served.post(&format!("/threads/{thread}/runs/wait"), run(1)).await;
    let (status, copy) = served.post(&format!("/threads/{thread}/copy"), json!({})).await;
    assert_eq!(status, 200, "{copy}");
    let copy = copy["thread_id"].as_str().unwrap();
    let (_, output) = served.post(&format!("/threads/{copy}/runs/wait"), run(5)).await;
    assert_eq!(output, json!({"n": 6, "log": ["a", "a"]}));
    let (_, state) = served.get(&format!("/threads/{thread}/state")).await;
    assert_eq!(state["values"], json!({"n": 2, "log": ["a"]}));
}

#[tokio::test]
async fn a_pruned_thread_keeps_its_newest_state() {
    let served = Served::with_test_graphs("memory:").await;
    let thread = served.thread().await;
    for n in [1, 10] {
        let run = json!({"assistant_id": "trivial", "input": {"n": n}});
        served.post(&format!("/threads/{thread}/runs/wait"), run).await;
    }
    let body = json!({"thread_ids": [thread], "strategy": "keep_latest"});
    assert_eq!(served.post("/threads/prune", body).await, (200, json!({"pruned_count": 1})));
    assert_eq!(history(&served, &thread).await.len(), 1);
    let (_, state) = served.get(&format!("/threads/{thread}/state")).await;
    assert_eq!(state["values"], json!({"n": 11, "log": ["a", "a"]}));
}
