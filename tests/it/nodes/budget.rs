//! What models may take: one budget, counted however a node ends, and what follows when it is used up.

use perf_agent::llm::{Error, Scripted};
use perf_agent::runtime::{ThreadState, ThreadStatus};
use serde_json::{Value, json};

use super::support::{Desk, Looks, look_at, says};
use crate::runtime::support::code;

/// An agent with eight turns; `more` are further keys of its node, `limits` those of the graph.
fn thinking(limits: &str, more: &str) -> String {
    let node = |name: &str| format!("  {name}: {{ set: {{ went: {name} }} }}\n");
    let (mut nodes, mut edges) = (String::new(), "start -> think -> end".to_owned());
    for (name, named_by) in [("late", limits), ("mend", more)] {
        if named_by.contains(name) {
            nodes += &node(name);
            edges += &format!(", {name} -> end");
        }
    }
    format!(
        "
name: think
input: {{ goal: string }}
state: {{ note: {{ type: Note, nullable: true }}, went: {{ type: string, default: nowhere }} }}
output: [note, went]
limits: {{ supersteps: 20, {limits} }}
nodes:
  think: {{ agent: {{ prompt: think.md, tools: [read_metrics], output: Note }}, writes: note{more} }}
{nodes}edges: [{edges}]
"
    )
}

/// Calls that differ, each of ten tokens, without an end.
fn restless() -> Scripted {
    Scripted::new((0..20).map(|n| look_at("a", 60 + n)))
}

async fn run(desk: &Desk, text: &str) -> ThreadState {
    desk.rig.run(&desk.graph(text), json!({ "goal": "peace" })).await
}

async fn limits_reached(desk: &Desk) -> Vec<Value> {
    let events = desk.rig.events().await.into_iter();
    events
        .filter(|event| event.kind == "LIMIT_REACHED")
        .map(|event| event.data["to"].clone())
        .collect()
}

const TO_MEND: &str = ", on_error: [{ to: mend }]";

#[tokio::test]
async fn an_agent_stops_once_prompts_and_answers_together_have_taken_what_is_left() {
    let desk = Desk::new(restless(), Looks::blank());
    let state = run(&desk, &thinking("tokens: 30, on_limit: late", TO_MEND)).await;
    assert_eq!(desk.model.asked().len(), 3, "three of ten tokens each, and none more");
    assert_eq!(state.usage.tokens(), 30);
    assert_eq!((state.status, &state.values["went"]), (ThreadStatus::Done, &json!("late")));
    assert_eq!(limits_reached(&desk).await, [json!("late")]);
}

#[tokio::test]
async fn without_an_on_limit_the_run_fails_by_its_limit_and_a_retry_has_a_tenth_of_it() {
    let desk = Desk::new(restless(), Looks::blank());
    let state = run(&desk, &thinking("tokens: 30", TO_MEND)).await;
    assert_eq!((state.status, code(&state)), (ThreadStatus::Error, "runtime.limit_reached"));
    assert_eq!((state.next.clone(), state.usage.tokens()), (vec!["think".to_owned()], 30));
    desk.rig.runtime.retry(&desk.rig.thread, "ada").await.unwrap();
    desk.rig.rest().await;
    let state = desk.rig.state().await;
    assert_eq!((code(&state), state.usage.tokens()), ("runtime.limit_reached", 40));
    assert_eq!(desk.model.asked().len(), 4);
}

#[tokio::test]
async fn what_a_failed_agent_took_counts_and_a_retry_pays_for_nothing_twice() {
    let desk = Desk::new(Scripted::new((0..20).map(|_| says("peace!", 10))), Looks::blank());
    let state = run(&desk, &thinking("tokens: 1000", "")).await;
    assert_eq!(code(&state), "nodes.unusable_answer");
    let asked = desk.model.asked().len();
    assert_eq!(state.usage.tokens(), 10 * asked as u64);
    desk.rig.runtime.retry(&desk.rig.thread, "ada").await.unwrap();
    desk.rig.rest().await;
    let state = desk.rig.state().await;
    assert_eq!(code(&state), "nodes.unusable_answer");
    assert_eq!(desk.model.asked().len(), asked, "its answers are in the ledger");
    assert_eq!(state.usage.tokens(), 10 * asked as u64);
}

#[tokio::test]
async fn what_a_failed_agent_took_counts_where_an_on_error_takes_it_over() {
    let desk = Desk::new(Scripted::new((0..20).map(|_| says("peace!", 10))), Looks::blank());
    let state = run(&desk, &thinking("tokens: 1000", TO_MEND)).await;
    assert_eq!((state.status, &state.values["went"]), (ThreadStatus::Done, &json!("mend")));
    assert_eq!(state.usage.tokens(), 10 * desk.model.asked().len() as u64);
}

#[tokio::test]
async fn what_is_tried_again_counts_once() {
    let limited = Error::RateLimited { endpoint: "e".to_owned(), retry_after_ms: None };
    let model = Scripted::new([])
        .on("think.md", look_at("a", 60))
        .fail_on("think.md", limited)
        .on("think.md", says("Enough.", 10))
        .on("think.md", says(r#"{"n": 1}"#, 10));
    let desk = Desk::new(model, Looks::blank());
    let state = run(&desk, &thinking("tokens: 1000", ", retry: { max: 1 }")).await;
    assert_eq!((state.status, &state.values["note"]), (ThreadStatus::Done, &json!({ "n": 1 })));
    assert_eq!(desk.model.asked().len(), 4, "the call before the failure is not asked for again");
    assert_eq!(desk.looks.begun().len(), 1, "nor made again");
    assert_eq!(state.usage.tokens(), 30);
}

const OUTER: &str = "
name: outer
input: { goal: string }
state: { went: { type: string, default: nowhere } }
output: [went]
limits: { supersteps: 20, tokens: 1000 }
nodes:
  part: { graph: { name: think, in: { goal: '{{ goal }}' }, out: { went: '{{ went }}' } }, on_error: [{ when: \"error.code == 'runtime.limit_reached'\", to: mend }] }
  mend: { set: { went: outside } }
edges: [start -> part -> end, mend -> end]
";

#[tokio::test]
async fn the_budget_of_a_subgraph_is_its_own_and_so_is_where_it_leads() {
    for (limits, expected) in [("tokens: 20, on_limit: late", "late"), ("tokens: 20", "outside")] {
        let desk = Desk::new(restless(), Looks::blank());
        let graph = desk.graphs(&[&thinking(limits, ""), OUTER], "Be brief.");
        let state = desk.rig.run(&graph, json!({ "goal": "peace" })).await;
        assert_eq!((state.status, &state.values["went"]), (ThreadStatus::Done, &json!(expected)));
        assert_eq!((desk.model.asked().len(), state.usage.tokens()), (2, 20), "{limits}");
    }
}
