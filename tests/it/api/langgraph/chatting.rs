//! What models write and what subgraphs do, as LangGraph's clients see it.

use serde_json::{Value, json};

use super::rig::{Graphs, Puppet};
use crate::api::support::Served;

type Event = (String, String, Value);

/// Runs `graph` with these modes while the puppet says `hello` in two pieces.
async fn seen(graph: &str, input: Value, modes: Value, subgraphs: bool) -> Vec<Event> {
    let graphs = Graphs::new();
    let puppet = Puppet::start().await;
    let served = graphs.played(&puppet).await;
    puppet.says("\"hel");
    puppet.says("lo\"");
    puppet.ends();
    let body = json!({
        "assistant_id": graph, "input": input, "stream_mode": modes, "stream_subgraphs": subgraphs,
    });
    served.events("/runs/stream", body).await
}

fn of<'a>(events: &'a [Event], name: &str) -> Vec<&'a Value> {
    events.iter().filter(|(event, ..)| event == name).map(|(.., data)| data).collect()
}

#[tokio::test]
async fn what_a_model_writes_comes_in_pieces_that_make_one_message() {
    let events = seen("talks", json!({"n": 1}), json!(["messages-tuple", "values"]), false).await;
    let pieces = of(&events, "messages");
    assert_eq!(pieces.len(), 3, "{events:?}");
    let text: String = pieces.iter().map(|piece| piece[0]["content"].as_str().unwrap()).collect();
    assert_eq!(text, "\"hello\"");
    for piece in &pieces {
        assert_eq!(piece[0]["type"], "AIMessageChunk");
        assert_eq!(piece[0]["id"], pieces[0][0]["id"]);
        assert_eq!(piece[1]["langgraph_node"], "say");
        assert_eq!(piece[1]["langgraph_step"], 2);
        assert!(piece[1]["langgraph_checkpoint_ns"].as_str().unwrap().starts_with("say:"));
    }
    let last = &pieces[2][0];
    assert_eq!((&last["content"], &last["chunk_position"]), (&json!(""), &json!("last")));
    let used = json!({"input_tokens": 7, "output_tokens": 3, "total_tokens": 10});
    assert_eq!((&last["usage_metadata"], &pieces[0][0]["usage_metadata"]), (&used, &json!(null)));
    assert_eq!(of(&events, "values").last().unwrap()["said"], "hello");
}

#[tokio::test]
async fn a_message_grows_and_is_complete_when_the_model_is_done() {
    let events = seen("talks", json!({"n": 1}), json!("messages"), false).await;
    let names: Vec<&str> = events.iter().map(|(name, ..)| name.as_str()).collect();
    let partial = "messages/partial";
    assert_eq!(names, ["metadata", "messages/metadata", partial, partial, "messages/complete"]);
    let texts: Vec<&Value> = events[2..].iter().map(|(.., data)| &data[0]["content"]).collect();
    assert_eq!(texts, ["\"hel", "\"hello\"", "\"hello\""]);
    let id = events[2].2[0]["id"].as_str().unwrap();
    assert_eq!(events[1].2[id]["metadata"]["langgraph_node"], "say");
    assert_eq!(
        events[4].2[0]["response_metadata"]["model_name"].as_str().map(str::is_empty),
        Some(false)
    );
    assert!(events[2..].iter().all(|(.., data)| data[0]["type"] == "ai" && data[0]["id"] == id));
}

#[tokio::test]
async fn a_subgraph_is_one_node_unless_its_events_are_asked_for() {
    let modes = json!(["updates", "values", "messages-tuple", "tasks"]);
    let events = seen("calls", json!({"given": 2}), modes, false).await;
    assert!(events.iter().all(|(name, ..)| !name.contains('|')), "{events:?}");
    let updates = of(&events, "updates");
    assert_eq!(
        updates,
        [&json!({"before": {"given": 3}}), &json!({"call": {"found": 6, "said": "hello"}}),]
    );
    assert_eq!(of(&events, "messages"), Vec::<&Value>::new());
    let tasks: Vec<&Value> = of(&events, "tasks").iter().map(|task| &task["name"]).collect();
    assert_eq!(tasks, ["before", "before", "call", "call"]);
    // The input, and one for each node: supersteps inside are nobody's business.
    let whole = json!({"found": 6, "said": "hello"});
    assert_eq!(of(&events, "values"), [&json!({}), &json!({}), &whole]);
}

#[tokio::test]
async fn the_events_of_a_subgraph_come_under_the_namespace_of_its_call() {
    let modes = json!(["updates", "values", "messages-tuple", "tasks", "custom"]);
    let events = seen("calls", json!({"given": 2}), modes, true).await;
    let call = of(&events, "tasks").into_iter().find(|task| task["name"] == "call").unwrap();
    let namespace = format!("call:{}", call["id"].as_str().unwrap());
    let within = |mode: &str| of(&events, &format!("{mode}|{namespace}"));
    assert_eq!(
        within("updates"),
        [&json!({"double": {"twice": 6}}), &json!({"say": {"said": "hello"}})]
    );
    let tasks: Vec<&Value> = within("tasks").iter().map(|task| &task["name"]).collect();
    assert_eq!(tasks, ["double", "double", "say", "say"]);
    assert_eq!(within("tasks")[0]["input"], json!({"n": 3}));
    assert_eq!(within("messages").len(), 3);
    let place = within("messages")[0][1]["langgraph_checkpoint_ns"].as_str().unwrap();
    assert!(place.starts_with(&format!("{namespace}|say:")), "{place}");
    assert_eq!(within("values").last().unwrap(), &&json!({"n": 3, "twice": 6, "said": "hello"}));
    assert!(within("custom").contains(&&json!({"content": "\"hel"})), "{events:?}");
    let updates = of(&events, "updates");
    assert_eq!(updates.last().unwrap(), &&json!({"call": {"found": 6, "said": "hello"}}));
    // What belongs to the call comes before what the call came to.
    let at = |name: &str| events.iter().rposition(|(event, ..)| *event == name).unwrap();
    assert!(at(&format!("updates|{namespace}")) < at("updates"));
}

#[tokio::test]
async fn the_state_of_a_subgraph_at_work_is_shown_with_the_task_that_calls_it() {
    let graphs = Graphs::new();
    let mut puppet = Puppet::start().await;
    let served = graphs.played(&puppet).await;
    let thread = served.thread().await;
    let body = json!({"assistant_id": "calls", "input": {"given": 2}});
    let (_, run) = served.post(&format!("/threads/{thread}/runs"), body).await;
    puppet.is_asked().await;
    let state = |deep: bool| {
        let served: &Served = &served;
        let path = format!("/threads/{thread}/state?subgraphs={deep}");
        async move { served.get(&path).await.1 }
    };
    let flat = state(false).await;
    assert_eq!((&flat["next"], &flat["values"]), (&json!(["call"]), &json!({"given": 3})));
    assert_eq!(flat["tasks"][0]["state"], json!(null));
    let deep = state(true).await;
    let task = &deep["tasks"][0];
    assert_eq!((&task["name"], &task["id"]), (&json!("call"), &flat["tasks"][0]["id"]));
    let part = &task["state"];
    assert_eq!((&part["values"], &part["next"]), (&json!({"n": 3, "twice": 6}), &json!(["say"])));
    assert_eq!(
        part["checkpoint"]["checkpoint_ns"],
        format!("call:{}", task["id"].as_str().unwrap())
    );
    puppet.says("\"x\"");
    puppet.ends();
    let id = run["run_id"].as_str().unwrap();
    let (_, output) = served.get(&format!("/threads/{thread}/runs/{id}/join")).await;
    assert_eq!(output, json!({"found": 6, "said": "x"}));
}

#[tokio::test]
async fn one_subgraph_is_described_by_its_namespace() {
    let graphs = Graphs::new();
    let served = graphs.served().await;
    let (_, found) = served.post("/assistants/search", json!({"graph_id": "calls"})).await;
    let path = format!("/assistants/{}/subgraphs", found[0]["assistant_id"].as_str().unwrap());
    let (_, all) = served.get(&path).await;
    assert_eq!(served.get(&format!("{path}/call")).await, (200, all));
    assert_eq!(served.get(&format!("{path}/before")).await.0, 404);
}

#[tokio::test]
async fn a_run_whose_node_takes_too_long_or_that_does_itself_has_timed_out() {
    let graphs = Graphs::new();
    for (graph, code) in [("late", "runtime.node_timeout"), ("slow", "runtime.limit_reached")] {
        let mut puppet = Puppet::start().await;
        let served = graphs.played_in_real_time(&puppet).await;
        let thread = served.thread().await;
        let path = format!("/threads/{thread}/runs");
        let body = json!({"assistant_id": graph, "input": {"n": 1}});
        let wait = format!("{path}/wait");
        let answered = async {
            puppet.is_asked().await;
            if graph == "slow" {
                // Its second of wall time passes while the model writes.
                tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
                puppet.says("\"x\"");
                puppet.ends();
            }
        };
        let (waited, ()) = tokio::join!(served.post(&wait, body), answered);
        assert_eq!(waited.1["__error__"]["error"], code, "{}", waited.1);
        assert_eq!(served.get(&path).await.1[0]["status"], "timeout", "{graph}");
        assert_eq!(served.get(&format!("/threads/{thread}")).await.1["status"], "error");
    }
}
