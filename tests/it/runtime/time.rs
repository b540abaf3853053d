//! Timers, looks, signals, timeouts.

use std::sync::Arc;

use async_trait::async_trait;
use perf_agent::base::{Clock, ManualClock, Millis};
use perf_agent::engine::Rest;
use perf_agent::graph::Reducer;
use perf_agent::runtime::{
    Node, NodeError, Outcome, StateView, TaskContext, ThreadStatus, WaitFor,
};
use perf_agent::store::MemoryStore;
use serde_json::{Value, json};

use super::support::{Crew, Rig, code, draw, number, wrote};

#[tokio::test]
async fn a_repeated_node_looks_again_by_timer_until_its_condition_holds() {
    let graph = draw("monitor")
        .channel("n", number(), Reducer::Sum)
        .limits(|limits| (limits.supersteps, limits.visits_per_node) = (3, 1))
        .node("look", Some("n"), &[1])
        .repeat(5_000, "n >= 200")
        .node("after", None, &[])
        .done();
    let rig = Rig::new(Crew::default().does("look", |_, _| wrote([("n", json!(1))])));
    let state = rig.run(&graph, Value::Null).await;
    assert_eq!((state.status, &state.values["n"]), (ThreadStatus::Done, &json!(200)));
    assert_eq!(state.updated.since(state.started), 199 * 5_000);
    assert_eq!(state.visits["look"], 1, "looks count against no limit");
}

fn waiting(wait: impl Fn(&TaskContext) -> WaitFor + Send + Sync + 'static) -> Crew {
    Crew::default().does("wait", move |view, cx| match &view.woken {
        None => Ok(Outcome::Wait(wait(cx))),
        Some(woken) => wrote([("woken", woken.clone())]),
    })
}

fn wait_graph() -> Arc<perf_agent::graph::Graph> {
    draw("wait")
        .channel("woken", json!({}), Reducer::Replace)
        .node("wait", Some("woken"), &[])
        .done()
}

#[tokio::test]
async fn a_timer_of_an_hour_costs_no_task_and_rings_on_time() {
    let rig = Rig::new(waiting(|cx| WaitFor::Until(cx.clock.now().0 + 3_600_000)));
    let state = rig.run(&wait_graph(), Value::Null).await;
    assert_eq!(state.status, ThreadStatus::Done);
    assert_eq!(state.updated.since(state.started), 3_600_000);
    assert_eq!(state.values["woken"], json!({ "timer": 3_601_000 }));
}

fn signal(give_up_at: Option<u64>) -> WaitFor {
    WaitFor::Signal { name: "go".to_owned(), give_up_at }
}

#[tokio::test]
async fn a_signal_wakes_the_node_that_waits_for_it_and_no_other_does() {
    let rig = Rig::new(waiting(|_| signal(None)));
    rig.run(&wait_graph(), Value::Null).await;
    assert_eq!(rig.rest().await, Rest::Signal);
    rig.runtime.signal(&rig.thread, "stop", json!(0)).await.unwrap();
    assert_eq!(rig.rest().await, Rest::Signal);
    rig.runtime.signal(&rig.thread, "go", json!(1)).await.unwrap();
    assert_eq!(rig.rest().await, Rest::Over);
    let expected = json!({ "signal": "go", "payload": 1 });
    assert_eq!(rig.state().await.values["woken"], expected);
}

#[tokio::test]
async fn a_signal_that_does_not_come_gives_up_on_time() {
    let rig = Rig::new(waiting(|_| signal(Some(90_000))));
    let state = rig.run(&wait_graph(), Value::Null).await;
    assert_eq!(state.values["woken"], json!({ "signal": "go", "timed_out": true }));
    assert_eq!(state.updated, Millis(90_000));
}

#[tokio::test]
async fn a_signal_that_comes_early_is_kept_for_who_waits_next() {
    let graph = draw("early")
        .channel("woken", json!({}), Reducer::Replace)
        .node("ask", None, &[1])
        .node("wait", Some("woken"), &[])
        .done();
    let crew = waiting(|_| signal(None)).does("ask", |view, _| match view.answer {
        None => Ok(super::interrupts::question(json!({}))),
        Some(_) => wrote([]),
    });
    let rig = Rig::new(crew);
    rig.run(&graph, Value::Null).await;
    rig.runtime.signal(&rig.thread, "go", json!(7)).await.unwrap();
    rig.runtime.resume(&rig.thread, None, json!(1), "ada").await.unwrap();
    assert_eq!(rig.rest().await, Rest::Over);
    assert_eq!(rig.state().await.values["woken"]["payload"], json!(7));
}

/// Sleeps so long on the run's clock.
struct Sleeper(u64);

#[async_trait]
impl Node for Sleeper {
    async fn run(&self, _: &StateView, cx: &TaskContext) -> Result<Outcome, NodeError> {
        cx.clock.sleep_ms(self.0).await;
        wrote([])
    }
}

#[tokio::test]
async fn in_simulated_time_a_node_is_timed_by_the_clock_it_moves() {
    for (sleep_ms, expected) in [(9_000, ""), (11_000, "runtime.node_timeout")] {
        let graph =
            draw("sim").node("sleep", None, &[]).but(|node| node.timeout_ms = 10_000).done();
        let state = Rig::new(Crew::default().has("sleep", Sleeper(sleep_ms)))
            .run(&graph, Value::Null)
            .await;
        assert_eq!(code(&state), expected);
    }
}

#[tokio::test]
async fn in_real_time_a_node_that_does_not_end_is_dropped_at_its_deadline() {
    let graph = draw("real").node("sleep", None, &[]).but(|node| node.timeout_ms = 10_000).done();
    let clock = Arc::new(ManualClock::new(Millis(0)));
    let crew = Crew::default().has("sleep", Sleeper(u64::MAX));
    let rig = Arc::new(Rig::on(Arc::new(MemoryStore::new()), clock.clone(), crew));
    let running = {
        let rig = rig.clone();
        tokio::spawn(async move { rig.run(&graph, Value::Null).await })
    };
    // It has begun once its step is journaled; the clock then passes the deadline.
    let mut follow = rig.runtime.follow(&rig.thread, 0);
    while follow.next().await.unwrap().kind != "STEP_STARTED" {}
    for at in 1..=40 {
        clock.set(Millis(at * 1_000));
        tokio::task::yield_now().await;
    }
    assert_eq!(code(&running.await.unwrap()), "runtime.node_timeout");
    assert!(clock.now() >= Millis(10_000));
}

#[tokio::test]
async fn time_spent_waiting_for_a_person_is_not_wall_time_of_the_run() {
    let graph = draw("slow person")
        .limits(|limits| limits.wall_ms = Some(10_000))
        .node("ask", None, &[1])
        .node("after", None, &[])
        .done();
    let crew = || {
        Crew::default().does("ask", |view, _| match view.answer {
            None => Ok(super::interrupts::question(json!({}))),
            Some(_) => wrote([]),
        })
    };
    let rig = Rig::new(crew());
    rig.run(&graph, Value::Null).await;
    let days_later = super::support::LeapClock::at(1_000 + 3 * 86_400_000);
    let later = Rig::on(rig.store.clone(), days_later, crew());
    later.runtime.resume(&later.thread, None, json!(1), "ada").await.unwrap();
    later.rest().await;
    assert_eq!(later.state().await.status, ThreadStatus::Done);
}
