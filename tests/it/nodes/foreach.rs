//! `foreach`: elements side by side, each remembered by itself.

use perf_agent::llm::Scripted;
use perf_agent::runtime::{ThreadState, ThreadStatus};
use perf_agent::serving;
use serde_json::json;

use super::support::{Desk, Looks, page};
use crate::runtime::support::code;

fn each(max_parallel: u32, more: &str) -> String {
    format!(
        "
name: each
input: {{ names: {{ array: string }} }}
state: {{ seen: {{ array: object }} }}
output: [seen]
nodes:
  look: {{ foreach: {{ in: names, as: one, max_parallel: {max_parallel}, tool: read_metrics, args: {{ deployment: '{{{{ one }}}}' }} }}, writes: seen{more} }}
edges: [start -> look -> end]
"
    )
}

async fn run(desk: &Desk, text: &str, names: &[&str]) -> ThreadState {
    desk.rig.run(&desk.graph(text), json!({ "names": names })).await
}

fn seen(state: &ThreadState) -> Vec<&str> {
    let seen = state.values["seen"].as_array().unwrap().iter();
    seen.map(|page| page["deployment"].as_str().unwrap()).collect()
}

fn desk(looks: Looks) -> Desk {
    Desk::new(Scripted::default(), looks)
}

/// Nobody answers the first `times` looks at `name`.
fn flaky(name: &'static str, times: usize) -> Looks {
    Looks::new(move |looked_at, nth| match looked_at == name && nth <= times {
        true => Err(serving::Error::Unreachable { endpoint: name.into(), detail: "gone".into() }),
        false => Ok(page(looked_at)),
    })
}

/// `name` is beyond help, so often.
fn broken(name: &'static str, times: usize) -> Looks {
    Looks::new(move |looked_at, nth| match looked_at == name && nth <= times {
        true => Err(serving::Error::UnknownBackend(name.to_owned())),
        false => Ok(page(looked_at)),
    })
}

fn count(desk: &Desk, name: &str) -> usize {
    desk.looks.begun().iter().filter(|looked_at| *looked_at == name).count()
}

#[tokio::test]
async fn results_are_in_the_order_of_the_elements_whoever_ends_first() {
    let desk = desk(Looks::blank().slow("a", 40).slow("b", 20));
    let state = run(&desk, &each(4, ""), &["a", "b", "c", "d"]).await;
    assert_eq!(seen(&state), ["a", "b", "c", "d"]);
    assert_eq!(desk.looks.ended(), ["c", "d", "b", "a"]);
}

#[tokio::test]
async fn no_more_than_max_parallel_are_at_work_and_a_slow_one_holds_nobody_else_up() {
    let desk = desk(Looks::blank().slow("a", 100).slow("b", 5).slow("c", 5).slow("d", 5));
    let state = run(&desk, &each(2, ""), &["a", "b", "c", "d"]).await;
    assert_eq!((state.status, desk.looks.most()), (ThreadStatus::Done, 2));
    assert_eq!(desk.looks.ended(), ["b", "c", "d", "a"]);
}

#[tokio::test]
async fn one_at_a_time_is_the_default() {
    let desk = desk(Looks::blank().slow("a", 5).slow("b", 5));
    let text = each(1, "").replace("max_parallel: 1, ", "");
    run(&desk, &text, &["a", "b"]).await;
    assert_eq!(desk.looks.most(), 1);
}

#[tokio::test]
async fn only_what_failed_is_tried_again_and_each_has_its_attempts() {
    let desk = desk(flaky("b", 2));
    let state = run(&desk, &each(2, ", retry: { max: 2 }"), &["a", "b", "c", "d"]).await;
    assert_eq!(state.status, ThreadStatus::Done, "{:?}", state.error);
    assert_eq!(seen(&state), ["a", "b", "c", "d"]);
    let counts = ["a", "b", "c", "d"].map(|name| count(&desk, name));
    assert_eq!(counts, [1, 3, 1, 1]);
}

#[tokio::test]
async fn after_a_failure_for_good_nobody_begins_and_nobody_is_cut_short() {
    let desk = desk(broken("a", 1).slow("a", 5).slow("b", 50));
    let state = run(&desk, &each(2, ""), &["a", "b", "c", "d"]).await;
    assert_eq!(code(&state), "serving.unknown_backend");
    assert_eq!(desk.looks.begun(), ["a", "b"]);
    assert_eq!(desk.looks.ended(), ["a", "b"], "b went on to its end");
    desk.rig.runtime.retry(&desk.rig.thread, "ada").await.unwrap();
    desk.rig.rest().await;
    assert_eq!(seen(&desk.rig.state().await), ["a", "b", "c", "d"]);
    assert_eq!(desk.looks.begun(), ["a", "b", "a", "c", "d"], "b is not looked at again");
}

#[tokio::test]
async fn an_empty_list_comes_to_an_empty_list() {
    let desk = desk(Looks::blank());
    let state = run(&desk, &each(2, ""), &[]).await;
    assert_eq!((state.status, &state.values["seen"]), (ThreadStatus::Done, &json!([])));
}
