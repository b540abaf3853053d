//! Nodes that fail: retried, routed, given up; effects that may have happened.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use perf_agent::graph::Reducer;
use perf_agent::runtime::{
    ErrorClass, Node, NodeError, Outcome, StateView, TaskContext, ThreadStatus, Update,
};
use serde_json::{Value, json};

use super::support::{Crew, Rig, code, draw, failure, list, number, wrote};

#[tokio::test]
async fn a_retryable_failure_is_tried_again_after_growing_pauses() {
    let graph = draw("flaky").node("flaky", None, &[]).but(|node| node.retry.max = 3).done();
    let crew = Crew::default().does("flaky", |_, cx| match cx.attempt {
        0 | 1 => Err(failure(ErrorClass::Unavailable)),
        _ => wrote([]),
    });
    let rig = Rig::new(crew);
    let state = rig.run(&graph, Value::Null).await;
    assert_eq!(state.status, ThreadStatus::Done);
    assert_eq!(state.updated.since(state.started), 100 + 200);
    assert_eq!(rig.journal().await.iter().filter(|line| *line == "RETRY flaky").count(), 2);
}

#[tokio::test]
async fn the_pause_another_side_asks_for_is_honoured() {
    let graph = draw("limited").node("call", None, &[]).but(|node| node.retry.max = 1).done();
    let crew = Crew::default().does("call", |_, cx| match cx.attempt {
        0 => Err(NodeError { retry_after_ms: Some(7_000), ..failure(ErrorClass::RateLimited) }),
        _ => wrote([]),
    });
    let state = Rig::new(crew).run(&graph, Value::Null).await;
    assert_eq!((state.status, state.updated.since(state.started)), (ThreadStatus::Done, 7_000));
}

#[tokio::test]
async fn a_failure_goes_where_on_error_says_and_the_condition_sees_it() {
    let graph = draw("routed")
        .channel("n", number(), Reducer::Sum)
        .node("fail", None, &[])
        .on_error(Some("error.class == 'denied'"), None)
        .on_error(Some("error.code == 'test.failure'"), Some(1))
        .node("mend", Some("n"), &[])
        .done();
    let crew = Crew::default()
        .does("fail", |_, _| Err(failure(ErrorClass::Fatal)))
        .does("mend", |_, _| wrote([("n", json!(1))]));
    let rig = Rig::new(crew);
    let state = rig.run(&graph, Value::Null).await;
    assert_eq!((state.status, &state.values["n"]), (ThreadStatus::Done, &json!(1)));
    assert_eq!(state.error, None, "it was taken over: the run did not fail");
}

#[tokio::test]
async fn a_failed_run_is_taken_up_again_without_repeating_the_branch_that_finished() {
    let graph = draw("half")
        .channel("items", list(), Reducer::Append)
        .start(&[0, 1])
        .node("good", Some("items"), &[])
        .node("bad", Some("items"), &[])
        .done();
    let (good, bad) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let (ran_good, ran_bad) = (good.clone(), bad.clone());
    let crew = Crew::default()
        .does("good", move |_, _| {
            ran_good.fetch_add(1, Ordering::SeqCst);
            wrote([("items", json!([1]))])
        })
        .does("bad", move |_, _| match ran_bad.fetch_add(1, Ordering::SeqCst) {
            0 => Err(failure(ErrorClass::Fatal)),
            _ => wrote([("items", json!([2]))]),
        });
    let rig = Rig::new(crew);
    let state = rig.run(&graph, Value::Null).await;
    assert_eq!((state.status, state.next), (ThreadStatus::Error, vec!["bad".to_owned()]));
    rig.runtime.retry(&rig.thread, "ada").await.unwrap();
    rig.rest().await;
    let state = rig.state().await;
    assert_eq!((state.status, &state.values["items"]), (ThreadStatus::Done, &json!([1, 2])));
    assert_eq!((good.load(Ordering::SeqCst), bad.load(Ordering::SeqCst)), (1, 2));
}

#[tokio::test]
async fn a_node_that_panics_fails_its_run_and_nothing_else() {
    let graph = draw("panic").node("boom", None, &[]).done();
    let rig = Rig::new(Crew::default().does("boom", |_, _| panic!("on purpose")));
    let state = rig.run(&graph, Value::Null).await;
    assert_eq!(code(&state), "runtime.node_panicked");
    assert!(state.error.unwrap().message.contains("on purpose"));
}

#[tokio::test]
async fn a_condition_that_is_not_a_truth_fails_the_run_instead_of_picking_a_route() {
    let graph = draw("odd")
        .channel("n", number(), Reducer::Replace)
        .choice("a", Some("n"), &[("n", Some(0)), ("", None)])
        .done();
    let state = Rig::new(Crew::default().does("a", |_, _| wrote([("n", json!(1))])))
        .run(&graph, Value::Null)
        .await;
    assert_eq!(code(&state), "runtime.route");
}

/// Begins an effect, and fails once before it notes the outcome.
struct CutOff {
    policy: &'static str,
    fired: Arc<AtomicU32>,
}

#[async_trait]
impl Node for CutOff {
    async fn run(&self, _: &StateView, cx: &TaskContext) -> Result<Outcome, NodeError> {
        let key = cx.effects.key(0);
        if let Some(result) = cx.effects.begin(&key, self.policy).await? {
            return wrote([("n", result)]);
        }
        if self.fired.fetch_add(1, Ordering::SeqCst) == 0 {
            return Err(failure(ErrorClass::Timeout));
        }
        cx.effects.finish(&key, &json!(5)).await?;
        wrote([("n", json!(5))])
    }
}

async fn cut_off(policy: &'static str) -> (Rig, Arc<AtomicU32>) {
    let graph = draw("effect")
        .channel("n", number(), Reducer::Replace)
        .node("act", Some("n"), &[])
        .but(|node| node.retry.max = 2)
        .done();
    let fired = Arc::new(AtomicU32::new(0));
    let rig = Rig::new(Crew::default().has("act", CutOff { policy, fired: fired.clone() }));
    rig.run(&graph, Value::Null).await;
    (rig, fired)
}

#[tokio::test]
async fn an_idempotent_effect_of_unknown_outcome_is_sent_again() {
    let (rig, fired) = cut_off("idempotent").await;
    assert_eq!(rig.state().await.values["n"], json!(5));
    assert_eq!(fired.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn an_at_most_once_effect_of_unknown_outcome_stops_for_a_person() {
    let (rig, fired) = cut_off("at_most_once").await;
    let state = rig.state().await;
    assert_eq!((state.status, fired.load(Ordering::SeqCst)), (ThreadStatus::Interrupted, 1));
    let answer = json!({ "happened": true, "result": 9 });
    rig.runtime.resume(&rig.thread, None, answer, "ada").await.unwrap();
    rig.rest().await;
    assert_eq!(rig.state().await.values["n"], json!(9), "what the person saw is the result");
    assert_eq!(fired.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_effect_that_a_person_says_did_not_happen_is_made() {
    let (rig, fired) = cut_off("at_most_once").await;
    rig.runtime.resume(&rig.thread, None, json!({ "happened": false }), "ada").await.unwrap();
    rig.rest().await;
    assert_eq!(rig.state().await.values["n"], json!(5));
    assert_eq!(fired.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_run_that_cannot_leave_a_node_keeps_nothing_of_it_and_a_retry_does_not_add_it_twice() {
    let graph = draw("stuck")
        .channel("seen", list(), Reducer::Append)
        .channel("n", number(), Reducer::Replace)
        .choice("look", Some("seen"), &[("n > 1", None), ("", None)])
        .done();
    let crew = Crew::default().does("look", |_, _| wrote([("seen", json!([7]))]));
    let rig = Rig::new(crew);
    let state = rig.run(&graph, Value::Null).await;
    assert_eq!((state.status, code(&state)), (ThreadStatus::Error, "runtime.route"));
    assert_eq!(state.values.get("seen"), None, "its superstep did not close");
    let values = [("n".to_owned(), json!(2))].into();
    let update = Update { values, as_node: None, goto: Vec::new(), by: "ada".to_owned() };
    rig.runtime.update_state(&rig.thread, update).await.unwrap();
    rig.runtime.retry(&rig.thread, "ada").await.unwrap();
    rig.rest().await;
    let state = rig.state().await;
    assert_eq!((state.status, &state.values["seen"]), (ThreadStatus::Done, &json!([7])));
}

#[tokio::test]
async fn writes_that_do_not_fold_fail_the_run_change_nothing_and_a_retry_runs_their_nodes_again() {
    let few = json!({ "type": "array", "items": { "type": "integer" }, "maxItems": 3 });
    let graph = draw("crowded")
        .channel("seen", few, Reducer::Append)
        .channel("total", number(), Reducer::Sum)
        .node("fork", Some("total"), &[1, 2])
        .node("left", Some("seen"), &[])
        .node("right", Some("seen"), &[])
        .done();
    let asked = Arc::new(AtomicU32::new(0));
    let crew = Crew::default()
        .does("fork", |_, _| wrote([("total", json!(5))]))
        .does("left", |_, _| wrote([("seen", json!([1, 2]))]))
        // Each write fits by itself; together they are too many, until this node is asked a third time.
        .does("right", move |_, _| match asked.fetch_add(1, Ordering::SeqCst) {
            0 | 1 => wrote([("seen", json!([3, 4]))]),
            _ => wrote([("seen", json!([3]))]),
        });
    let rig = Rig::new(crew);
    let state = rig.run(&graph, Value::Null).await;
    assert_eq!((state.status, code(&state)), (ThreadStatus::Error, "runtime.fold"));
    let problem = state.error.unwrap();
    assert!(problem.message.contains("`seen`"), "{}", problem.message);
    assert_eq!(state.values.get("seen"), None, "neither of the two writes is kept");
    assert_eq!(state.values["total"], json!(5), "the superstep before stands");
    assert_eq!(state.next, ["left", "right"]);
    let kept = rig.store.results(&rig.thread).await.unwrap();
    assert!(kept.is_empty(), "what did not fold is not folded again: {kept:?}");

    rig.runtime.retry(&rig.thread, "ada").await.unwrap();
    rig.rest().await;
    let state = rig.state().await;
    assert_eq!((state.status, code(&state)), (ThreadStatus::Error, "runtime.fold"));

    rig.runtime.retry(&rig.thread, "ada").await.unwrap();
    rig.rest().await;
    let state = rig.state().await;
    assert_eq!((state.status, &state.values["seen"]), (ThreadStatus::Done, &json!([1, 2, 3])));
    let failures = rig.journal().await.iter().filter(|line| *line == "RUN_ERROR").count();
    let finished = rig.journal().await.iter().filter(|line| *line == "STEP_FINISHED left").count();
    assert_eq!((failures, finished), (2, 1), "a task is finished once its writes are folded");
}
