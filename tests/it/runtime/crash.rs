//! The crash matrix: a child process is killed with `kill -9` at a chosen point; this process takes its file over.
//!
//! The child is this test binary again. What a side effect does to the world is a line in a file outside the store.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use perf_agent::base::{Clock, ManualClock, Millis, SystemClock};
use perf_agent::graph::{Graph, Reducer};
use perf_agent::runtime::{
    Node, NodeError, Outcome, StateView, TaskContext, ThreadState, ThreadStatus, WaitFor,
};
use perf_agent::store::SqliteStore;
use serde_json::{Value, json};

use super::support::{Crew, Rig, draw, list, wrote};

const POINT: &str = "PERF_AGENT_CRASH_POINT";
const FOLDER: &str = "PERF_AGENT_CRASH_FOLDER";

/// Where the child stops and waits to be killed.
#[derive(Clone)]
struct Stage {
    folder: PathBuf,
    /// Empty in the process that takes over: it stops nowhere.
    point: String,
}

impl Stage {
    /// Leaves a mark and waits for the end, if this is the point.
    fn at(&self, point: &str) {
        if self.point == point {
            std::fs::write(self.folder.join("reached"), point).unwrap();
            loop {
                std::thread::park();
            }
        }
    }

    /// A side effect on the world outside.
    fn happens(&self, key: &str) {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(self.log()).unwrap();
        writeln!(&file, "{key}").unwrap();
    }

    fn happened(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.log()).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn log(&self) -> PathBuf {
        self.folder.join("world.log")
    }

    fn store(&self) -> Arc<SqliteStore> {
        Arc::new(SqliteStore::open(self.folder.join("threads.db")).unwrap())
    }
}

/// Makes one side effect under the ledger.
struct Act {
    stage: Stage,
    policy: &'static str,
}

#[async_trait]
impl Node for Act {
    async fn run(&self, _: &StateView, cx: &TaskContext) -> Result<Outcome, NodeError> {
        let key = cx.effects.key(0);
        self.stage.at("before effect");
        if cx.effects.begin(&key, self.policy).await?.is_none() {
            self.stage.happens(&key.0);
            self.stage.at("before finish");
            cx.effects.finish(&key, &json!(1)).await?;
        }
        self.stage.at("before commit");
        wrote([("done", json!([1]))])
    }
}

fn act_graph() -> Arc<Graph> {
    draw("act")
        .channel("done", list(), Reducer::Append)
        .node("act", Some("done"), &[1])
        .node("next", Some("done"), &[])
        .done()
}

fn branch_graph() -> Arc<Graph> {
    draw("branches")
        .channel("done", list(), Reducer::Append)
        .start(&[0, 1])
        .node("act", Some("done"), &[])
        .node("slow", Some("done"), &[])
        .done()
}

fn wait_graph() -> Arc<Graph> {
    draw("wait")
        .channel("done", list(), Reducer::Append)
        .node("act", Some("done"), &[1])
        .node("pause", Some("done"), &[])
        .done()
}

fn crew(stage: &Stage, policy: &'static str) -> Crew {
    let (next, slow) = (stage.clone(), stage.clone());
    Crew::default()
        .has("act", Act { stage: stage.clone(), policy })
        .does("next", move |_, _| {
            next.at("after commit");
            wrote([("done", json!([2]))])
        })
        .has("slow", Slow(slow))
        .does("pause", |view, cx| match (&view.answer, &view.woken) {
            (None, None) if cx.node == "pause" => pause(cx),
            _ => wrote([("done", json!([2]))]),
        })
}

/// The second branch: stops once the first one's result is in the file.
struct Slow(Stage);

#[async_trait]
impl Node for Slow {
    async fn run(&self, _: &StateView, cx: &TaskContext) -> Result<Outcome, NodeError> {
        if self.0.point == "between branches" {
            // The first branch ends on the same task: it gets its turn here.
            cx.clock.sleep_ms(200).await;
        }
        self.0.at("between branches");
        if self.0.point == "during cancel" {
            (cx.emit)(json!("so far"));
            std::future::pending::<()>().await;
        }
        wrote([("done", json!([2]))])
    }
}

fn pause(cx: &TaskContext) -> Result<Outcome, NodeError> {
    if cx.thread.0 == "t" && std::env::var(POINT).as_deref() == Ok("during approval") {
        return Ok(super::interrupts::question(json!({ "enum": ["yes", "no"] })));
    }
    Ok(Outcome::Wait(WaitFor::Until(cx.clock.now().0 + 3_600_000)))
}

fn graph_of(point: &str) -> Arc<Graph> {
    match point {
        "between branches" | "during cancel" => branch_graph(),
        "during approval" | "during a timer" => wait_graph(),
        _ => act_graph(),
    }
}

/// Whether what the second branch says is in the journal.
async fn said(rig: &Rig) -> bool {
    rig.events().await.iter().any(|event| event.data["data"] == json!("so far"))
}

/// The child's whole life. Does nothing in an ordinary test run.
#[test]
fn child() {
    let (Ok(point), Ok(folder)) = (std::env::var(POINT), std::env::var(FOLDER)) else { return };
    let stage = Stage { folder: PathBuf::from(folder), point: point.clone() };
    let policy = if stage.folder.join("at_most_once").exists() { "at_most_once" } else { "probe" };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let rig = Arc::new(Rig::on(stage.store(), Arc::new(SystemClock), crew(&stage, policy)));
        let run = rig.runtime.start(&rig.thread, graph_of(&point), Value::Null, Value::Null);
        run.await.unwrap();
        let driven = rig.clone();
        let running = tokio::spawn(async move { driven.rest().await });
        if point == "during cancel" {
            // The first branch has ended, and what the second one says has been heard.
            while stage.happened().is_empty() || !said(&rig).await {
                tokio::task::yield_now().await;
            }
            rig.runtime.cancel(&rig.thread, "ada").await.unwrap();
            stage.at("during cancel");
        }
        let waits = |status| matches!(status, ThreadStatus::Interrupted | ThreadStatus::Busy);
        while point.starts_with("during") {
            let state = rig.runtime.state(&rig.thread).await.unwrap();
            if state.is_some_and(|state| {
                waits(state.status)
                    && state.next == ["pause"]
                    && (state.wake_at.is_some() || !state.interrupts.is_empty())
            }) {
                stage.at(&point);
            }
        }
        running.await.unwrap();
    });
    panic!("the child came to its end without reaching `{point}`");
}

/// Runs the child until it reaches `point`, and kills it there.
fn crash(point: &str, policy: &str) -> (tempfile::TempDir, Stage) {
    let folder = tempfile::tempdir().unwrap();
    if policy == "at_most_once" {
        std::fs::write(folder.path().join("at_most_once"), "").unwrap();
    }
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["runtime::crash::child", "--exact", "--nocapture"])
        .env(POINT, point)
        .env(FOLDER, folder.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    wait_for(&folder.path().join("reached"), &mut child);
    // SIGKILL: nothing of the child gets to clean up.
    child.kill().unwrap();
    child.wait().unwrap();
    let stage = Stage { folder: folder.path().to_owned(), point: String::new() };
    (folder, stage)
}

fn wait_for(mark: &Path, child: &mut Child) {
    let begun = Instant::now();
    while !mark.exists() {
        assert!(child.try_wait().unwrap().is_none(), "the child died before it got there");
        assert!(begun.elapsed() < Duration::from_secs(30), "the child never got there");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Takes the file over and drives the thread to rest.
async fn take_over(stage: &Stage, policy: &'static str, clock: Arc<dyn Clock>) -> Rig {
    let rig = Rig::on(stage.store(), clock, crew(stage, policy));
    rig.rest().await;
    rig
}

async fn linear(rig: &Rig) {
    let history = rig.runtime.history(&rig.thread, None, 1_000).await.unwrap();
    let seqs: Vec<u64> = history.iter().rev().map(|state| state.seq).collect();
    assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>(), "history is linear");
    let events: Vec<u64> = rig.events().await.iter().map(|event| event.seq).collect();
    assert_eq!(events, (1..=events.len() as u64).collect::<Vec<_>>(), "the journal has no gap");
}

fn applied_once(stage: &Stage) {
    let happened = stage.happened();
    let unique: std::collections::HashSet<&String> = happened.iter().collect();
    assert_eq!(unique.len(), 1, "one key, whatever happened: {happened:?}");
}

fn done(state: &ThreadState) {
    assert_eq!((state.status, &state.values["done"]), (ThreadStatus::Done, &json!([1, 2])));
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}

#[tokio::test]
async fn killed_before_the_effect_it_happens_once() {
    for policy in ["probe", "at_most_once"] {
        let (_folder, stage) = crash("before effect", policy);
        assert!(stage.happened().is_empty());
        let rig =
            take_over(&stage, if policy == "probe" { "probe" } else { "at_most_once" }, clock())
                .await;
        done(&rig.state().await);
        assert_eq!(stage.happened().len(), 1);
        linear(&rig).await;
    }
}

#[tokio::test]
async fn killed_between_effect_and_finish_an_at_most_once_effect_is_not_made_again() {
    let (_folder, stage) = crash("before finish", "at_most_once");
    let rig = take_over(&stage, "at_most_once", clock()).await;
    assert_eq!(rig.state().await.status, ThreadStatus::Interrupted);
    assert_eq!(stage.happened().len(), 1);
    let answer = json!({ "happened": true, "result": 1 });
    rig.runtime.resume(&rig.thread, None, answer, "ada").await.unwrap();
    rig.rest().await;
    done(&rig.state().await);
    assert_eq!(stage.happened().len(), 1);
    linear(&rig).await;
}

#[tokio::test]
async fn killed_between_effect_and_finish_any_other_effect_is_sent_again_under_the_same_key() {
    let (_folder, stage) = crash("before finish", "probe");
    let rig = take_over(&stage, "probe", clock()).await;
    done(&rig.state().await);
    applied_once(&stage);
    linear(&rig).await;
}

#[tokio::test]
async fn killed_between_finish_and_commit_the_effect_is_not_made_again() {
    for policy in ["probe", "at_most_once"] {
        let (_folder, stage) = crash("before commit", policy);
        let rig =
            take_over(&stage, if policy == "probe" { "probe" } else { "at_most_once" }, clock())
                .await;
        done(&rig.state().await);
        assert_eq!(stage.happened().len(), 1);
        linear(&rig).await;
    }
}

#[tokio::test]
async fn killed_after_the_commit_the_run_goes_on_with_the_next_superstep() {
    let (_folder, stage) = crash("after commit", "at_most_once");
    let rig = take_over(&stage, "at_most_once", clock()).await;
    done(&rig.state().await);
    assert_eq!(stage.happened().len(), 1);
    linear(&rig).await;
}

#[tokio::test]
async fn killed_between_two_branches_the_finished_one_is_not_repeated() {
    let (_folder, stage) = crash("between branches", "at_most_once");
    let rig = take_over(&stage, "at_most_once", clock()).await;
    done(&rig.state().await);
    assert_eq!(stage.happened().len(), 1);
    let finished = rig.events().await.iter().filter(|event| event.kind == "STEP_FINISHED").count();
    assert_eq!(finished, 2);
    linear(&rig).await;
}

#[tokio::test]
async fn killed_during_an_approval_the_question_is_still_open() {
    let (_folder, stage) = crash("during approval", "at_most_once");
    let rig = take_over(&stage, "at_most_once", clock()).await;
    let state = rig.state().await;
    assert_eq!((state.status, state.interrupts.len()), (ThreadStatus::Interrupted, 1));
    rig.runtime.resume(&rig.thread, None, json!("yes"), "ada").await.unwrap();
    rig.rest().await;
    done(&rig.state().await);
    assert_eq!(stage.happened().len(), 1);
    linear(&rig).await;
}

#[tokio::test]
async fn killed_during_a_timer_it_rings_at_the_time_first_set() {
    let (_folder, stage) = crash("during a timer", "at_most_once");
    let two_hours_on = Millis(SystemClock.now().0 + 7_200_000);
    let rig = take_over(&stage, "at_most_once", Arc::new(ManualClock::new(two_hours_on))).await;
    done(&rig.state().await);
    assert_eq!(stage.happened().len(), 1);
    linear(&rig).await;
}

#[tokio::test]
async fn killed_during_a_cancel_the_run_is_cancelled_and_keeps_what_it_said() {
    let (_folder, stage) = crash("during cancel", "at_most_once");
    let rig = take_over(&stage, "at_most_once", clock()).await;
    assert_eq!(rig.state().await.status, ThreadStatus::Cancelled);
    assert_eq!(stage.happened().len(), 1);
    assert!(said(&rig).await);
    linear(&rig).await;
}
