//! Cancelling, draining, following live.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use perf_agent::base::{Clock, Coded, ManualClock, Millis};
use perf_agent::engine::Rest;
use perf_agent::graph::Reducer;
use perf_agent::runtime::{
    Activate, Next, Node, NodeError, Outcome, StateView, TaskContext, ThreadStatus,
};
use perf_agent::store::MemoryStore;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::support::{Crew, Rig, draw, number, wrote};

/// Says that it is there, then waits to be cancelled; polite ones end by themselves.
struct Endless {
    polite: bool,
    told: Arc<AtomicBool>,
}

#[async_trait]
impl Node for Endless {
    async fn run(&self, _: &StateView, cx: &TaskContext) -> Result<Outcome, NodeError> {
        (cx.emit)(json!({ "streamed": "so far" }));
        cx.cancel.cancelled().await;
        self.told.store(true, Ordering::SeqCst);
        if !self.polite {
            std::future::pending::<()>().await;
        }
        wrote([("n", json!(1))])
    }
}

fn endless(polite: bool) -> (Arc<Rig>, Arc<ManualClock>, Arc<AtomicBool>) {
    let told = Arc::new(AtomicBool::new(false));
    let clock = Arc::new(ManualClock::new(Millis(0)));
    let crew = Crew::default().has("work", Endless { polite, told: told.clone() });
    let rig = Rig::on(Arc::new(MemoryStore::new()), clock.clone(), crew);
    (Arc::new(rig), clock, told)
}

fn graph() -> Arc<perf_agent::graph::Graph> {
    draw("endless")
        .channel("n", number(), Reducer::Sum)
        .node("work", Some("n"), &[1])
        .node("next", None, &[])
        .done()
}

/// Starts the run, and returns once its node has said something.
async fn begin(rig: &Arc<Rig>, stop: &CancellationToken) -> tokio::task::JoinHandle<Rest> {
    rig.runtime.start(&rig.thread, graph(), Value::Null, Value::Null).await.unwrap();
    let (driven, stop) = (rig.clone(), stop.clone());
    let running = tokio::spawn(async move {
        driven.engine.run_to_rest(&driven.runtime, &driven.thread, &stop).await.unwrap()
    });
    let mut follow = rig.runtime.follow(&rig.thread, 0);
    // A live reader sees what a node says while the node still runs.
    while follow.next().await.unwrap().kind != "CUSTOM" {}
    running
}

#[tokio::test]
async fn a_cancelled_run_ends_at_once_when_its_node_heeds_the_token() {
    let (rig, _clock, told) = endless(true);
    let running = begin(&rig, &CancellationToken::new()).await;
    rig.runtime.cancel(&rig.thread, "ada").await.unwrap();
    assert_eq!(running.await.unwrap(), Rest::Over);
    assert_eq!(rig.state().await.status, ThreadStatus::Cancelled);
    assert!(told.load(Ordering::SeqCst));
    let journal = rig.journal().await;
    assert!(journal.contains(&"CUSTOM work".to_owned()), "what streamed so far stays: {journal:?}");
    assert_eq!(journal.last().unwrap(), "RUN_CANCELLED");
    let again = rig.runtime.cancel(&rig.thread, "ada").await.unwrap_err();
    assert_eq!(again.code(), "runtime.no_run");
}

#[tokio::test]
async fn a_node_that_ignores_the_token_is_dropped_at_the_deadline() {
    let (rig, clock, told) = endless(false);
    let running = begin(&rig, &CancellationToken::new()).await;
    rig.runtime.cancel(&rig.thread, "ada").await.unwrap();
    while !running.is_finished() {
        clock.set(clock.now().plus(500));
        tokio::task::yield_now().await;
    }
    running.await.unwrap();
    assert_eq!(rig.state().await.status, ThreadStatus::Cancelled);
    assert!(told.load(Ordering::SeqCst));
    assert!(clock.now().0 < 60_000, "long before the node's own timeout");
}

#[tokio::test]
async fn draining_stops_at_the_superstep_boundary_and_the_run_goes_on_later() {
    let (rig, _clock, _told) = endless(true);
    let stop = CancellationToken::new();
    let running = begin(&rig, &stop).await;
    stop.cancel();
    assert_eq!(running.await.unwrap(), Rest::Stopped);
    let state = rig.state().await;
    assert_eq!((state.status, state.next), (ThreadStatus::Busy, vec!["next".to_owned()]));
    assert_eq!(rig.rest().await, Rest::Over);
    assert_eq!(rig.state().await.status, ThreadStatus::Done);
}

#[tokio::test]
async fn a_queued_run_starts_after_the_one_before_is_cancelled() {
    let (rig, _clock, _told) = endless(true);
    let running = begin(&rig, &CancellationToken::new()).await;
    let quick = draw("quick").node("quick", None, &[]).done();
    let run = rig.runtime.start(&rig.thread, quick, Value::Null, Value::Null).await.unwrap();
    rig.runtime.cancel(&rig.thread, "ada").await.unwrap();
    running.await.unwrap();
    rig.rest().await;
    let state = rig.state().await;
    assert_eq!((state.run, state.status), (run, ThreadStatus::Done));
}

#[tokio::test]
async fn serving_runs_many_threads_to_their_ends_and_picks_up_what_was_left_ready() {
    let clock = super::support::LeapClock::at(1_000);
    let graph = draw("timer")
        .channel("n", number(), Reducer::Sum)
        .node("look", Some("n"), &[])
        .repeat(1_000, "n >= 3")
        .done();
    let crew = || Crew::default().does("look", |_, _| wrote([("n", json!(1))]));
    let rig = Rig::on(Arc::new(MemoryStore::new()), clock.clone(), crew());
    let threads: Vec<_> =
        (0..20).map(|n| perf_agent::base::ThreadId(format!("thread {n}"))).collect();
    for thread in &threads {
        rig.runtime.start(thread, graph.clone(), Value::Null, Value::Null).await.unwrap();
    }
    // Another process: it knows what is in the store and nothing else.
    let other = Arc::new(Rig::on(rig.store.clone(), clock, crew()));
    let stop = CancellationToken::new();
    let serving = {
        let (other, stop) = (other.clone(), stop.clone());
        tokio::spawn(async move {
            let activate: Arc<dyn Activate> = Arc::new(other.runtime.clone());
            perf_agent::runtime::Engine::serve(&*other.engine, activate, stop).await
        })
    };
    for thread in &threads {
        let mut follow = other.runtime.follow(thread, 0);
        while follow.next().await.unwrap().kind != "RUN_FINISHED" {}
    }
    stop.cancel();
    serving.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_thread_without_a_run_rests() {
    let rig = Rig::new(Crew::default());
    let next = rig.runtime.activate(&rig.thread, &CancellationToken::new()).await;
    assert_eq!(next, Next::Idle);
}
