//! Streams of runs at work: joined in the middle, cut, gone on with.

use serde_json::{Value, json};

use super::rig::{Graphs, Live, Puppet};
use crate::api::support::Served;

type Event = (String, String, Value);

fn stream(served: &Served, path: &str, after: Option<&str>) -> reqwest::RequestBuilder {
    let request = served.client.get(format!("{}{path}", served.base));
    match after {
        Some(id) => request.header("last-event-id", id),
        None => request,
    }
}

async fn all(mut live: Live) -> Vec<Event> {
    let mut events = Vec::new();
    while let Some(event) = live.next().await {
        events.push(event);
    }
    events
}

#[tokio::test]
async fn a_stream_of_a_run_at_work_is_cut_and_gone_on_with_and_nothing_is_lost_or_told_twice() {
    let graphs = Graphs::new();
    let mut puppet = Puppet::start().await;
    let served = graphs.played(&puppet).await;
    let thread = served.thread().await;
    let body = json!({
        "assistant_id": "talks", "input": {"n": 1}, "stream_resumable": true, "on_disconnect": "continue",
        "stream_mode": ["values", "updates", "custom"],
    });
    let request = served.client.post(format!("{}/threads/{thread}/runs/stream", served.base));
    let mut live = Live::open(request.json(&body)).await;
    let metadata = live.until("metadata").await;
    let run = metadata["run_id"].as_str().unwrap();
    let path = format!("/threads/{thread}/runs/{run}/stream");
    puppet.is_asked().await;
    puppet.says("\"hel");
    // The run is at work: somebody saw the first piece, and the line broke.
    let (id, piece) = loop {
        let (name, id, data) = live.next().await.unwrap();
        if name == "custom" {
            break (id, data);
        }
    };
    assert_eq!(piece, json!({"content": "\"hel"}));
    drop(live);
    let again = Live::open(stream(&served, &path, Some(&id))).await;
    let whole = Live::open(stream(&served, &path, Some("-1"))).await;
    let mut late = Live::open(stream(&served, &path, None)).await;
    late.until("metadata").await;
    puppet.says("lo\"");
    puppet.ends();
    let (rest, whole) = (all(again).await, all(whole).await);
    let at = whole.iter().position(|(_, event, _)| *event == id).unwrap();
    assert_eq!(rest, whole[at + 1..]);
    assert_eq!(rest[0].2, json!({"content": "lo\""}));
    assert_eq!(rest.last().unwrap().2, json!({"n": 2, "said": "hello"}));
    // Who came late sees what is new, and no state of before.
    let late = all(late).await;
    let values: Vec<&Value> =
        late.iter().filter(|(name, ..)| name == "values").map(|(.., data)| data).collect();
    assert_eq!(values, [&json!({"n": 2, "said": "hello"})]);
    assert!(late.iter().any(|(_, _, data)| *data == json!({"content": "lo\""})), "{late:?}");
}

#[tokio::test]
async fn the_stream_of_a_thread_is_gone_on_with_after_any_of_its_events() {
    let graphs = Graphs::new();
    let served = graphs.served().await;
    let thread = served.thread().await;
    let run = |n: u32| json!({"assistant_id": "steps", "input": {"n": n}, "stream_mode": ["values", "updates"]});
    let path = format!("/threads/{thread}/stream");
    let mut live = Live::open(stream(&served, &path, None)).await;
    for n in [1, 5] {
        served.post(&format!("/threads/{thread}/runs/wait"), run(n)).await;
    }
    // Of each run: who it is, four states, three updates.
    let mut seen = Vec::new();
    while seen.len() < 16 {
        seen.push(live.next().await.unwrap());
    }
    let values: Vec<&Value> =
        seen.iter().filter(|(name, ..)| name == "values").map(|(.., data)| data).collect();
    assert_eq!(values[3], &json!({"n": 2, "log": ["a", "b", "c"]}));
    assert_eq!(values[7]["log"].as_array().unwrap().len(), 6);
    for (at, (_, id, _)) in seen.iter().enumerate() {
        let mut again = Live::open(stream(&served, &path, Some(id))).await;
        for event in &seen[at + 1..] {
            assert_eq!(&again.next().await.unwrap(), event, "after {id}");
        }
    }
    let (status, refused) = served.get(&format!("{path}?stream_modes=lifecycle")).await;
    assert_eq!(status, 422, "{refused}");
}

#[tokio::test]
async fn a_run_goes_on_at_the_node_it_is_told_to_with_what_was_changed() {
    let graphs = Graphs::new();
    let served = graphs.served().await;
    let thread = served.thread().await;
    let path = format!("/threads/{thread}/runs/wait");
    served.post(&path, json!({"assistant_id": "steps", "input": {"n": 1}})).await;
    let (status, output) =
        served.post(&path, json!({"assistant_id": "steps", "command": {"goto": "b"}})).await;
    assert_eq!((status, output), (200, json!({"n": 2, "log": ["a", "b", "c", "b", "c"]})));
    let command = json!({"update": {"n": 40, "log": ["by hand"]}, "goto": ["c"]});
    let (status, output) =
        served.post(&path, json!({"assistant_id": "steps", "command": command})).await;
    let log = json!(["a", "b", "c", "b", "c", "by hand", "c"]);
    assert_eq!((status, output), (200, json!({"n": 40, "log": log})));
    let unknown = json!({"assistant_id": "steps", "command": {"goto": "z"}});
    let (status, refused) = served.post(&path, unknown).await;
    assert!((400..500).contains(&status), "{refused}");
}

#[tokio::test]
async fn a_run_is_held_after_a_node_and_goes_on_with_the_next() {
    let graphs = Graphs::new();
    let served = graphs.served().await;
    let thread = served.thread().await;
    let path = format!("/threads/{thread}/runs/wait");
    let held = json!({"assistant_id": "steps", "input": {"n": 1}, "interrupt_after": ["b"]});
    assert_eq!(served.post(&path, held).await, (200, json!({"n": 2, "log": ["a", "b"]})));
    let (_, state) = served.get(&format!("/threads/{thread}/state")).await;
    assert_eq!(state["next"], json!(["c"]));
    assert_eq!(served.get(&format!("/threads/{thread}")).await.1["status"], "interrupted");
    let on = json!({"assistant_id": "steps", "input": null});
    assert_eq!(served.post(&path, on).await, (200, json!({"n": 2, "log": ["a", "b", "c"]})));
}

#[tokio::test]
async fn a_run_with_every_node_held_stops_after_each() {
    let graphs = Graphs::new();
    let served = graphs.served().await;
    let thread = served.thread().await;
    let path = format!("/threads/{thread}/runs/wait");
    let mut body = json!({"assistant_id": "steps", "input": {"n": 1}, "interrupt_after": "*"});
    for log in [json!(["a"]), json!(["a", "b"]), json!(["a", "b", "c"])] {
        assert_eq!(served.post(&path, body).await.1["log"], log);
        body = json!({"assistant_id": "steps", "input": null, "interrupt_after": "*"});
    }
}
