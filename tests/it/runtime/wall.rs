//! Wall time bounds what no superstep opens in: pauses before another attempt, and waits.

use std::sync::Arc;

use perf_agent::engine::Rest;
use perf_agent::graph::{Graph, Reducer};
use perf_agent::runtime::{
    Activate, ErrorClass, NodeError, Outcome, ThreadState, ThreadStatus, WaitFor,
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::language::graph;
use super::support::{Crew, Rig, code, draw, failure, number, wrote};

/// A node that is told to come back in so long.
fn told_to_wait(ms: u64) -> Crew {
    Crew::default().does("call", move |_, _| {
        let limited = failure(ErrorClass::RateLimited);
        Err(NodeError { retry_after_ms: Some(ms), ..limited })
    })
}

#[tokio::test]
async fn a_pause_that_the_run_will_not_live_to_see_is_not_begun() {
    for (wall_ms, asked_ms) in [(Some(5_000), 5_000), (None, 3_600_001)] {
        let graph = draw("limited")
            .limits(|limits| limits.wall_ms = wall_ms)
            .node("call", None, &[])
            .but(|node| node.retry.max = 3)
            .done();
        let state = Rig::new(told_to_wait(asked_ms)).run(&graph, Value::Null).await;
        assert_eq!((state.status, code(&state)), (ThreadStatus::Error, "test.failure"));
        assert_eq!(state.updated, state.started);
        let message = state.error.unwrap().message;
        assert!(message.contains(&format!("{asked_ms} ms, which is longer")), "{message}");
    }
}

#[tokio::test]
async fn its_own_on_error_takes_over_what_may_not_be_waited_for() {
    let graph = draw("limited")
        .channel("n", number(), Reducer::Sum)
        .limits(|limits| limits.wall_ms = Some(5_000))
        .node("call", None, &[])
        .but(|node| node.retry.max = 3)
        .on_error(Some("error.class == 'rate_limited'"), Some(1))
        .node("mend", Some("n"), &[])
        .done();
    let crew = told_to_wait(9_000).does("mend", |_, _| wrote([("n", json!(1))]));
    let state = Rig::new(crew).run(&graph, Value::Null).await;
    assert_eq!((state.status, &state.values["n"]), (ThreadStatus::Done, &json!(1)));
}

#[tokio::test]
async fn a_storm_of_attempts_ends_with_the_wall() {
    let graph = draw("storm")
        .limits(|limits| limits.wall_ms = Some(1_000))
        .node("call", None, &[])
        .but(|node| (node.retry.max, node.retry.factor) = (1_000_000, 1.0))
        .done();
    let crew = Crew::default().does("call", |_, _| Err(failure(ErrorClass::Unavailable)));
    let rig = Rig::new(crew);
    let state = rig.run(&graph, Value::Null).await;
    assert_eq!(code(&state), "test.failure");
    assert_eq!(rig.journal().await.iter().filter(|line| *line == "RETRY call").count(), 9);
    assert_eq!(state.updated.since(state.started), 900);
}

/// Waits for a signal without an end.
fn deaf(crew: Crew, node: &str) -> Crew {
    crew.does(node, |view, _| match &view.woken {
        None => Ok(Outcome::Wait(WaitFor::Signal { name: "go".to_owned(), give_up_at: None })),
        Some(_) => wrote([]),
    })
}

/// One node that is done at once, one that waits; `on_limit` is the third.
fn two(on_limit: Option<usize>) -> Arc<Graph> {
    draw("deaf")
        .channel("n", number(), Reducer::Sum)
        .limits(|limits| (limits.wall_ms, limits.on_limit) = (Some(60_000), on_limit))
        .start(&[0, 1])
        .node("good", Some("n"), &[])
        .node("wait", None, &[])
        .node("late", Some("n"), &[])
        .done()
}

fn crew() -> Crew {
    let adds =
        |crew: Crew, node: &str, n: u64| crew.does(node, move |_, _| wrote([("n", json!(n))]));
    deaf(adds(adds(Crew::default(), "good", 1), "late", 10), "wait")
}

#[tokio::test]
async fn a_wait_without_an_end_ends_with_the_wall_and_finished_siblings_count() {
    let rig = Rig::new(crew());
    let state = rig.run(&two(Some(2)), Value::Null).await;
    assert_eq!((state.status, &state.values["n"]), (ThreadStatus::Done, &json!(11)));
    assert_eq!(state.updated.since(state.started), 60_000);
    let journal = rig.journal().await;
    assert!(journal.contains(&"LIMIT_REACHED".to_owned()), "{journal:?}");
}

#[tokio::test]
async fn without_an_on_limit_the_run_fails_at_that_moment_and_the_wait_stays_planned() {
    let state = Rig::new(crew()).run(&two(None), Value::Null).await;
    assert_eq!((state.status, code(&state)), (ThreadStatus::Error, "runtime.limit_reached"));
    assert_eq!(state.updated.since(state.started), 60_000);
    assert_eq!((&state.values["n"], state.next), (&json!(1), vec!["wait".to_owned()]));
}

#[tokio::test]
async fn a_waiting_run_says_when_its_wall_ends_and_a_signal_before_that_is_in_time() {
    let rig = Rig::new(crew());
    rig.runtime.start(&rig.thread, two(Some(2)), Value::Null, Value::Null).await.unwrap();
    rig.runtime.activate(&rig.thread, &CancellationToken::new()).await;
    let state = rig.state().await;
    assert_eq!(state.wake_at, Some(state.started.plus(60_000)));
    rig.runtime.signal(&rig.thread, "go", json!(1)).await.unwrap();
    assert_eq!(rig.rest().await, Rest::Over);
    let state = rig.state().await;
    assert_eq!((state.status, &state.values["n"]), (ThreadStatus::Done, &json!(1)));
}

#[tokio::test]
async fn a_question_has_no_wall() {
    let graph =
        draw("ask").limits(|limits| limits.wall_ms = Some(60_000)).node("ask", None, &[]).done();
    let crew = Crew::default().does("ask", |view, _| match view.answer {
        None => Ok(super::interrupts::question(json!({}))),
        Some(_) => wrote([]),
    });
    let state: ThreadState = Rig::new(crew).run(&graph, Value::Null).await;
    assert_eq!((state.status, state.wake_at), (ThreadStatus::Interrupted, None));
}

const INNER: &str = "
name: inner
input: { goal: string }
state: { n: { type: integer, default: 0 } }
output: [n]
limits: { supersteps: 10, wall: 10s }
nodes: { hear: { wait: { signal: go }, writes: n } }
edges: [start -> hear -> end]
";

const OUTER: &str = "
name: outer
input: { goal: string }
state: { n: { type: integer, default: 0 } }
output: [n]
limits: { supersteps: 10, wall: 1h }
nodes:
  part: { graph: { name: inner, in: { goal: '{{ goal }}' }, out: { n: '{{ n }}' } }, on_error: [{ when: \"error.code == 'runtime.limit_reached'\", to: mend }] }
  mend: { set: { n: 7 } }
edges: [start -> part -> end, mend -> end]
";

#[tokio::test]
async fn the_wall_of_a_subgraph_ends_its_waits_and_the_run_goes_on_outside() {
    let rig = Rig::new(deaf(Crew::default(), "hear"));
    let state = rig.run(&graph(&[INNER, OUTER]), json!({ "goal": "g" })).await;
    assert_eq!((state.status, &state.values["n"]), (ThreadStatus::Done, &json!(7)));
    assert_eq!(state.updated.since(state.started), 10_000);
}
