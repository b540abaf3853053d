//! A cancelled run begins nothing more: no tool call, no turn of its model, no element.

use std::sync::Arc;

use perf_agent::engine::Rest;
use perf_agent::llm::Scripted;
use perf_agent::runtime::ThreadStatus;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::support::{Desk, Looks, wants};

/// Starts a run whose look at `a` takes for ever, cancels it while it looks, and returns when it is over.
async fn cancelled_while_looking(desk: Desk, text: &str, input: Value) -> Desk {
    let graph = desk.graph(text);
    let desk = Arc::new(desk);
    desk.rig.runtime.start(&desk.rig.thread, graph, input, Value::Null).await.unwrap();
    let driven = desk.clone();
    let running = tokio::spawn(async move { driven.rig.rest().await });
    while desk.looks.begun().is_empty() {
        tokio::task::yield_now().await;
    }
    desk.rig.runtime.cancel(&desk.rig.thread, "ada").await.unwrap();
    assert_eq!(running.await.unwrap(), Rest::Over);
    assert_eq!(desk.rig.state().await.status, ThreadStatus::Cancelled);
    Arc::into_inner(desk).unwrap()
}

fn looks() -> Looks {
    Looks::blank().slow("a", usize::MAX)
}

#[tokio::test]
async fn an_agent_leaves_its_look_and_makes_no_further_call() {
    let look = |name: &str| ("read_metrics", json!({ "deployment": name }));
    let model = Scripted::new([wants(&[look("a"), look("b"), look("c")])]);
    let text = "
name: think
input: { goal: string }
state: { note: Note }
output: [note]
nodes:
  think: { agent: { prompt: think.md, tools: [read_metrics], output: Note }, writes: note }
edges: [start -> think -> end]
";
    let desk = Desk::new(model, looks());
    let desk = cancelled_while_looking(desk, text, json!({ "goal": "peace" })).await;
    assert_eq!(desk.looks.begun(), ["a"]);
    assert_eq!(desk.looks.ended(), Vec::<String>::new());
    assert_eq!(desk.model.asked().len(), 1);
}

#[tokio::test]
async fn a_foreach_begins_no_further_element() {
    let text = "
name: each
input: { names: { array: string } }
state: { seen: { array: object } }
output: [seen]
nodes:
  look: { foreach: { in: names, as: one, tool: read_metrics, args: { deployment: '{{ one }}' } }, writes: seen, retry: { max: 3 } }
edges: [start -> look -> end]
";
    let desk = Desk::new(Scripted::default(), looks());
    let input = json!({ "names": ["a", "b", "c"] });
    let desk = cancelled_while_looking(desk, text, input).await;
    assert_eq!(desk.looks.begun(), ["a"]);
}

#[tokio::test]
async fn a_drained_run_leaves_its_look_too_and_makes_it_after_the_restart() {
    let text = "
name: once
state: { seen: object }
output: [seen]
nodes: { look: { tool: read_metrics, args: { deployment: a }, writes: seen } }
edges: [start -> look -> end]
";
    let desk = Arc::new(Desk::new(Scripted::default(), Looks::blank().slow("a", 1_000)));
    let (graph, stop) = (desk.graph(text), CancellationToken::new());
    desk.rig.runtime.start(&desk.rig.thread, graph, Value::Null, Value::Null).await.unwrap();
    let (driven, told) = (desk.clone(), stop.clone());
    let running = tokio::spawn(async move {
        let rig = &driven.rig;
        rig.engine.run_to_rest(&rig.runtime, &rig.thread, &told).await.unwrap()
    });
    while desk.looks.begun().is_empty() {
        tokio::task::yield_now().await;
    }
    stop.cancel();
    assert_eq!(running.await.unwrap(), Rest::Stopped);
    assert_eq!(desk.looks.ended(), Vec::<String>::new());
    assert_eq!(desk.rig.rest().await, Rest::Over);
    assert_eq!(desk.rig.state().await.status, ThreadStatus::Done);
    assert_eq!(desk.looks.begun().len(), 2);
}
