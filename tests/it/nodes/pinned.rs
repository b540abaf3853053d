//! A run keeps the instructions it began with.

use perf_agent::llm::{ChatRequest, Message, Scripted};
use perf_agent::runtime::ThreadStatus;
use serde_json::{Value, json};

use super::support::{Desk, Looks, says};

const ASKED_FIRST: &str = "
name: pinned
input: { goal: string }
state: { sure: { enum: ['yes', 'no'], default: 'no' }, note: Note }
output: [note]
nodes:
  ask: { approval: { ask: ask.md, answer: { enum: ['yes', 'no'] }, grants: [] }, writes: sure }
  think: { agent: { prompt: think.md, tools: [], output: Note }, writes: note }
edges: [start -> ask -> think -> end]
";

fn system(request: &ChatRequest) -> &str {
    match &request.messages[0] {
        Message::System { content } => content,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_changed_system_md_is_another_graph_and_a_run_in_flight_keeps_the_old_one() {
    let replies = [says(r#"{"n": 1}"#, 1), says(r#"{"n": 2}"#, 1)];
    let desk = Desk::new(Scripted::new(replies), Looks::blank());
    let before = desk.graph_under(ASKED_FIRST, "Be brief.");
    let state = desk.rig.run(&before, json!({ "goal": "peace" })).await;
    assert_eq!(state.status, ThreadStatus::Interrupted);
    let after = desk.graph_under(ASKED_FIRST, "Be kind.");
    assert_ne!(before.hash, after.hash);
    let next = perf_agent::base::ThreadId("next".to_owned());
    let (runtime, goal) = (&desk.rig.runtime, json!({ "goal": "peace" }));
    runtime.start(&next, after, goal, Value::Null).await.unwrap();
    for thread in [&desk.rig.thread, &next] {
        let stop = tokio_util::sync::CancellationToken::new();
        desk.rig.engine.run_to_rest(runtime, thread, &stop).await.unwrap();
        runtime.resume(thread, None, json!("yes"), "ada").await.unwrap();
        desk.rig.engine.run_to_rest(runtime, thread, &stop).await.unwrap();
    }
    let asked = desk.model.asked();
    assert_eq!(asked.iter().map(system).collect::<Vec<_>>(), ["Be brief.", "Be kind."]);
}
