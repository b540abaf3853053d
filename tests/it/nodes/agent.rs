//! The agent node: repairs, circles, long results, turns.

use perf_agent::llm::{ChatRequest, Scripted};
use perf_agent::runtime::ThreadStatus;
use serde_json::json;

use super::support::{Desk, Looks, last_words, long_gpu, look_at, page, says, wants};
use crate::runtime::support::code;

fn thinking(tools: &str, turns: u32) -> String {
    format!(
        "
name: think
input: {{ goal: string }}
state: {{ note: Note }}
output: [note]
nodes:
  think: {{ agent: {{ prompt: think.md, tools: [{tools}], output: Note, turns: {turns} }}, writes: note }}
edges: [start -> think -> end]
"
    )
}

async fn run(desk: &Desk, tools: &str, turns: u32) -> perf_agent::runtime::ThreadState {
    let graph = desk.graph(&thinking(tools, turns));
    desk.rig.run(&graph, json!({ "goal": "peace" })).await
}

/// Whether a question offers tools, and whether it wants an answer in a schema.
fn form(request: &ChatRequest) -> (bool, bool) {
    (!request.tools.is_empty(), request.output.is_some())
}

#[tokio::test]
async fn an_answer_that_does_not_fit_is_shown_to_the_model_with_the_reason_until_one_fits() {
    let replies = [says("peace!", 1), says(r#"{"n": -1}"#, 1), says("```json\n{\"n\": 3}\n```", 1)];
    let desk = Desk::new(Scripted::new(replies), Looks::blank());
    let state = run(&desk, "", 8).await;
    assert_eq!((state.status, &state.values["note"]), (ThreadStatus::Done, &json!({ "n": 3 })));
    let asked = desk.model.asked();
    assert_eq!(asked.len(), 3);
    assert!(last_words(&asked[0]).contains("Think of peace."), "{}", last_words(&asked[0]));
    assert!(last_words(&asked[1]).contains("it is not JSON"), "{}", last_words(&asked[1]));
    assert!(last_words(&asked[2]).contains("/n: -1"), "{}", last_words(&asked[2]));
}

#[tokio::test]
async fn after_three_repairs_the_node_fails() {
    let replies = (0..9).map(|_| says("peace!", 1));
    let desk = Desk::new(Scripted::new(replies), Looks::blank());
    let state = run(&desk, "", 8).await;
    assert_eq!(code(&state), "nodes.unusable_answer");
    assert_eq!(desk.model.asked().len(), 4, "the answer, and three repairs");
}

#[tokio::test]
async fn the_same_call_three_times_ends_the_tool_loop() {
    let replies = (0..3).map(|_| look_at("a", 60)).chain([says(r#"{"n": 1}"#, 1)]);
    let desk = Desk::new(Scripted::new(replies), Looks::blank());
    let state = run(&desk, "read_metrics", 8).await;
    assert_eq!(state.status, ThreadStatus::Done, "{:?}", state.error);
    let forms: Vec<_> = desk.model.asked().iter().map(form).collect();
    assert_eq!(forms, [(true, false), (true, false), (true, false), (false, true)]);
}

#[tokio::test]
async fn turns_bound_how_often_tools_are_offered_and_the_last_is_the_answers() {
    let calls = (1..9).map(|n| look_at("a", 60 + n));
    let replies = calls.take(2).chain([says(r#"{"n": 1}"#, 1)]);
    let desk = Desk::new(Scripted::new(replies), Looks::blank());
    let state = run(&desk, "read_metrics", 3).await;
    assert_eq!(state.status, ThreadStatus::Done, "{:?}", state.error);
    let forms: Vec<_> = desk.model.asked().iter().map(form).collect();
    assert_eq!(forms, [(true, false), (true, false), (false, true)]);
    assert_eq!(desk.looks.begun(), ["a", "a"]);
}

#[tokio::test]
async fn a_long_result_is_cut_for_the_model_and_says_so() {
    let looks = Looks::new(|name, _| {
        let gpus = (0..100).map(long_gpu).collect();
        Ok(perf_agent::domain::Observation { gpus, ..page(name) })
    });
    let replies = [look_at("a", 60), says("Enough.", 1), says(r#"{"n": 1}"#, 1)];
    let desk = Desk::new(Scripted::new(replies), looks);
    let state = run(&desk, "read_metrics", 8).await;
    assert_eq!(state.status, ThreadStatus::Done, "{:?}", state.error);
    let shown = last_words(&desk.model.asked()[1]);
    assert!(shown.ends_with("… (cut; ask for less)"), "{}", &shown[shown.len() - 60..]);
    assert!((6_000..6_100).contains(&shown.chars().count()), "{}", shown.chars().count());
}

#[tokio::test]
async fn tools_that_are_not_its_own_and_arguments_that_do_not_fit_are_told_to_the_model() {
    let strange = wants(&[
        ("run_trial", json!({})),
        ("read_metrics", json!({ "deployment": "a", "window_s": 1 })),
    ]);
    let replies = [strange, says("Enough.", 1), says(r#"{"n": 1}"#, 1)];
    let desk = Desk::new(Scripted::new(replies), Looks::blank());
    let state = run(&desk, "read_metrics", 8).await;
    assert_eq!(state.status, ThreadStatus::Done, "{:?}", state.error);
    let asked = desk.model.asked();
    let told = format!("{:?}", asked[1].messages);
    assert!(told.contains("there is no tool `run_trial` here"), "{told}");
    assert!(told.contains("tools.invalid_arguments"), "{told}");
    assert!(desk.looks.begun().is_empty(), "nothing was called");
}
