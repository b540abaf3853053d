//! Eager graphs: a slow branch holds nobody up who does not wait for it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use perf_agent::base::{ManualClock, Millis};
use perf_agent::engine::Rest;
use perf_agent::graph::Graph;
use perf_agent::runtime::{
    CheckpointStore, ErrorClass, Node, NodeError, Outcome, StateView, TaskContext, ThreadStatus,
};
use perf_agent::store::MemoryStore;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::interrupts::question;
use super::language::graph;
use super::support::{Crew, Rig, code, failure, wrote};

/// Doors that nodes wait before, and who came.
#[derive(Clone)]
struct Doors {
    open: watch::Sender<BTreeSet<String>>,
    came: Arc<Mutex<Vec<String>>>,
}

impl Doors {
    fn new() -> Self {
        Self { open: watch::Sender::new(BTreeSet::new()), came: Arc::default() }
    }

    fn open(&self, node: &str) {
        self.open.send_modify(|open| {
            open.insert(node.to_owned());
        });
    }

    fn came(&self) -> Vec<String> {
        self.came.lock().unwrap().clone()
    }

    /// A worker that says where it is, waits for its door and writes its name.
    fn worker(&self, writes: &'static str) -> Behind {
        Behind { doors: self.clone(), writes }
    }
}

struct Behind {
    doors: Doors,
    writes: &'static str,
}

#[async_trait]
impl Node for Behind {
    async fn run(&self, _: &StateView, cx: &TaskContext) -> Result<Outcome, NodeError> {
        self.doors.came.lock().unwrap().push(cx.task.clone());
        (cx.emit)(json!("here"));
        let mut open = self.doors.open.subscribe();
        tokio::select! {
            biased;
            _ = open.wait_for(|open| open.contains(&cx.node)) => {}
            () = cx.cancel.cancelled() => return Err(failure(ErrorClass::Unavailable)),
        }
        wrote([(self.writes, json!(cx.node))])
    }
}

const TEXTS: &str = "state: { a: { type: string, default: '' }, b: { type: string, default: '' }, c: { type: string, default: '' }, d: { type: string, default: '' } }";

/// `fork` leads to `quick -> then` and to `slow`, and `meet` waits for both.
fn two_branches(quick: &str, then: &str) -> Arc<Graph> {
    graph(&[&format!(
        "
name: two
mode: eager
{TEXTS}
output: [d]
nodes:
  fork: {{ set: {{}} }}
  quick: {{ {quick} }}
  then: {{ {then} }}
  slow: {{ tool: any, writes: c }}
  meet: {{ set: {{ d: '{{{{ a }}}} {{{{ b }}}} {{{{ c }}}}' }}, join: {{ after: [then, slow], need: all }} }}
edges: [start -> fork, {{ from: fork, to: [quick, slow] }}, quick -> then -> meet, slow -> meet, meet -> end]
"
    )])
}

const QUICK: &str = "tool: any, writes: a";
const THEN: &str = "set: { b: 'after {{ a }}' }";

fn rig(store: &Arc<dyn CheckpointStore>, clock: &Arc<ManualClock>, crew: Crew) -> Arc<Rig> {
    Arc::new(Rig::on(store.clone(), clock.clone(), crew))
}

fn fresh(crew: Crew) -> (Arc<Rig>, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(Millis(0)));
    let store: Arc<dyn CheckpointStore> = Arc::new(MemoryStore::new());
    (rig(&store, &clock, crew), clock)
}

fn drive(rig: &Arc<Rig>, stop: &CancellationToken) -> JoinHandle<Rest> {
    let (rig, stop) = (rig.clone(), stop.clone());
    tokio::spawn(
        async move { rig.engine.run_to_rest(&rig.runtime, &rig.thread, &stop).await.unwrap() },
    )
}

async fn begin(rig: &Arc<Rig>, graph: &Arc<Graph>) -> JoinHandle<Rest> {
    rig.runtime.start(&rig.thread, graph.clone(), Value::Null, Value::Null).await.unwrap();
    drive(rig, &CancellationToken::new())
}

/// Returns once the journal has such a line.
async fn until(rig: &Rig, line: &str) {
    let mut follow = rig.runtime.follow(&rig.thread, 0);
    loop {
        let event = follow.next().await.unwrap();
        let node = event.data.get("node").and_then(Value::as_str).unwrap_or_default();
        if format!("{} {node}", event.kind).trim_end() == line {
            return;
        }
    }
}

fn count(journal: &[String], line: &str) -> usize {
    journal.iter().filter(|there| *there == line).count()
}

#[tokio::test]
async fn a_slow_sibling_holds_nobody_up_but_who_waits_for_it() {
    let doors = Doors::new();
    let crew = Crew::default()
        .has("slow", doors.worker("c"))
        .does("quick", |_, _| wrote([("a", json!("quick"))]));
    let (rig, _) = fresh(crew);
    let running = begin(&rig, &two_branches(QUICK, THEN)).await;
    until(&rig, "STEP_FINISHED then").await;
    let state = rig.state().await;
    assert_eq!((state.status, &state.values["b"]), (ThreadStatus::Busy, &json!("after quick")));
    assert_eq!(state.next, ["slow"], "the join waits, and nothing else is left");
    doors.open("slow");
    assert_eq!(running.await.unwrap(), Rest::Over);
    let state = rig.state().await;
    assert_eq!(
        (state.status, &state.values["d"]),
        (ThreadStatus::Done, &json!("quick after quick slow"))
    );
    assert_eq!(doors.came(), ["2/slow"]);
    // Whoever started in one superstep is known by it when it ends in a later one.
    let ended = rig
        .events()
        .await
        .into_iter()
        .find(|e| e.kind == "STEP_FINISHED" && e.data["node"] == "slow");
    assert_eq!(ended.unwrap().data["superstep"], 2);
}

/// Runs both branches behind doors that open in `order`; the history, and what came of it.
async fn history(order: &[&str]) -> (Vec<String>, Value) {
    let doors = Doors::new();
    let crew = Crew::default().has("quick", doors.worker("a")).has("slow", doors.worker("c"));
    let (rig, _) = fresh(crew);
    let running = begin(&rig, &two_branches(QUICK, THEN)).await;
    for node in order {
        until(&rig, &format!("CUSTOM {node}")).await;
        doors.open(node);
        until(&rig, &format!("STEP_FINISHED {node}")).await;
    }
    running.await.unwrap();
    let history = rig.store.history(&rig.thread, None, 100).await.unwrap();
    let line = |state: &Arc<perf_agent::runtime::Checkpoint>| {
        let tasks: Vec<String> = state
            .tasks
            .iter()
            .map(|task| format!("{}/{}", task.superstep(state), task.node))
            .collect();
        format!(
            "{} {} {:?} {:?} {:?}",
            state.seq,
            state.superstep,
            state.status,
            tasks,
            state.values()
        )
    };
    (history.iter().map(line).collect(), json!(rig.state().await.values))
}

#[tokio::test]
async fn one_order_of_completions_gives_one_history_and_every_order_the_same_result() {
    let (first, result) = history(&["quick", "slow"]).await;
    assert_eq!(history(&["quick", "slow"]).await, (first.clone(), result.clone()));
    let (other, same) = history(&["slow", "quick"]).await;
    assert_ne!(first, other, "the way there differs");
    assert_eq!(result, same);
}

#[tokio::test]
async fn after_a_crash_only_what_was_at_work_runs_again_and_under_its_old_key() {
    let doors = Doors::new();
    let store: Arc<dyn CheckpointStore> = Arc::new(MemoryStore::new());
    let clock = Arc::new(ManualClock::new(Millis(0)));
    let crew = || Crew::default().has("slow", doors.worker("c"));
    let before = rig(&store, &clock, crew());
    let running = begin(&before, &two_branches(QUICK, THEN)).await;
    until(&before, "STEP_FINISHED then").await;
    running.abort();
    assert!(running.await.is_err());
    let after = rig(&store, &clock, crew());
    doors.open("slow");
    assert_eq!(drive(&after, &CancellationToken::new()).await.unwrap(), Rest::Over);
    assert_eq!(doors.came(), ["2/slow", "2/slow"], "one key for both attempts");
    let journal = after.journal().await;
    for node in ["quick", "then", "slow", "meet"] {
        assert_eq!(count(&journal, &format!("STEP_FINISHED {node}")), 1, "{node}: {journal:?}");
    }
    assert_eq!(after.state().await.status, ThreadStatus::Done);
}

#[tokio::test]
async fn a_question_is_answered_and_a_timer_rings_while_a_sibling_is_at_work() {
    let doors = Doors::new();
    let crew = Crew::default()
        .has("slow", doors.worker("c"))
        .does("quick", |view, _| match &view.answer {
            None => Ok(question(json!({ "type": "string" }))),
            Some(answer) => wrote([("a", answer.value.clone())]),
        })
        .does("then", |view, cx| match &view.woken {
            None => {
                Ok(Outcome::Wait(perf_agent::runtime::WaitFor::Until(cx.clock.now().0 + 5_000)))
            }
            Some(_) => wrote([]),
        });
    let (rig, clock) = fresh(crew);
    let running = begin(&rig, &two_branches(QUICK, "wait: { for: 5s }")).await;
    until(&rig, "INTERRUPT quick").await;
    rig.runtime.resume(&rig.thread, None, json!("yes"), "ada").await.unwrap();
    until(&rig, "WAITING then").await;
    assert_eq!(rig.state().await.values["a"], json!("yes"));
    // Its next look at the clock is a timer of its own: the sibling ends nothing.
    clock.set(Millis(5_000));
    until(&rig, "WOKEN then").await;
    assert_eq!(doors.came(), ["2/slow"]);
    doors.open("slow");
    running.await.unwrap();
    let state = rig.state().await;
    assert_eq!(state.values["c"], json!("slow"), "{state:?}");
}

#[tokio::test]
async fn a_failure_ends_the_run_once_the_others_are_done_and_a_retry_repeats_it_alone() {
    let (doors, fails) = (Doors::new(), Arc::new(Mutex::new(true)));
    let failing = fails.clone();
    let crew = Crew::default().has("slow", doors.worker("c")).does("quick", move |_, _| {
        match *failing.lock().unwrap() {
            true => Err(failure(ErrorClass::Invalid)),
            false => wrote([("a", json!("quick"))]),
        }
    });
    let (rig, _) = fresh(crew);
    let running = begin(&rig, &two_branches(QUICK, THEN)).await;
    until(&rig, "CUSTOM slow").await;
    assert!(!running.is_finished());
    doors.open("slow");
    running.await.unwrap();
    let state = rig.state().await;
    assert_eq!((state.status, code(&state)), (ThreadStatus::Error, "test.failure"));
    assert_eq!(state.values["c"], json!("slow"), "what the sibling did is kept");
    *fails.lock().unwrap() = false;
    rig.runtime.retry(&rig.thread, "ada").await.unwrap();
    assert_eq!(rig.rest().await, Rest::Over);
    assert_eq!(rig.state().await.status, ThreadStatus::Done);
    assert_eq!(doors.came(), ["2/slow"]);
}

#[tokio::test]
async fn a_cancelled_eager_run_leaves_nobody_at_work() {
    let doors = Doors::new();
    let (rig, _) = fresh(Crew::default().has("slow", doors.worker("c")));
    let running = begin(&rig, &two_branches(QUICK, THEN)).await;
    until(&rig, "STEP_FINISHED then").await;
    rig.runtime.cancel(&rig.thread, "ada").await.unwrap();
    assert_eq!(running.await.unwrap(), Rest::Over);
    let journal = rig.journal().await;
    assert_eq!(journal.last().unwrap(), "RUN_CANCELLED");
    assert_eq!(count(&journal, "CUSTOM slow"), 1, "what it said stays");
    assert_eq!(rig.state().await.status, ThreadStatus::Cancelled);
    // The next run is another one.
    doors.open("slow");
    let state = rig.run(&two_branches(QUICK, THEN), Value::Null).await;
    assert_eq!(state.status, ThreadStatus::Done);
}

#[tokio::test]
async fn draining_an_eager_run_stops_between_supersteps_and_it_goes_on_later() {
    let doors = Doors::new();
    let (rig, _) = fresh(Crew::default().has("slow", doors.worker("c")));
    rig.runtime
        .start(&rig.thread, two_branches(QUICK, THEN), Value::Null, Value::Null)
        .await
        .unwrap();
    let stop = CancellationToken::new();
    let running = drive(&rig, &stop);
    until(&rig, "STEP_FINISHED then").await;
    stop.cancel();
    assert_eq!(running.await.unwrap(), Rest::Stopped);
    assert_eq!(rig.state().await.next, ["slow"]);
    doors.open("slow");
    assert_eq!(rig.rest().await, Rest::Over);
    assert_eq!(rig.state().await.status, ThreadStatus::Done);
    assert_eq!(doors.came(), ["2/slow", "2/slow"]);
}

#[tokio::test]
async fn a_fork_of_an_eager_run_goes_on_with_what_was_at_work() {
    let doors = Doors::new();
    let (rig, _) = fresh(Crew::default().has("slow", doors.worker("c")));
    let running = begin(&rig, &two_branches(QUICK, THEN)).await;
    until(&rig, "STEP_FINISHED then").await;
    let seq = rig.store.head(&rig.thread).await.unwrap().unwrap().seq;
    doors.open("slow");
    running.await.unwrap();
    let to = perf_agent::base::ThreadId("fork".to_owned());
    let forked = rig.runtime.fork(&rig.thread, Some(seq), &to).await.unwrap();
    assert_eq!(forked.next, ["slow"]);
    rig.runtime.go_on(&to, "ada").await.unwrap();
    let stop = CancellationToken::new();
    rig.engine.run_to_rest(&rig.runtime, &to, &stop).await.unwrap();
    let state = rig.runtime.state(&to).await.unwrap().unwrap();
    assert_eq!(
        (state.status, &state.values["d"]),
        (ThreadStatus::Done, &rig.state().await.values["d"])
    );
    assert_eq!(doors.came(), ["2/slow", "2/slow"]);
}
