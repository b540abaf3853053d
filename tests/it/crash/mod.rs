//! One run, killed with `kill -9` again and again at moments nobody chose, on one file until it is done.
//!
//! `tests/it/runtime/crash.rs` kills at every place that matters, once; here the places are drawn. The child is this
//! test binary again; what its side effects do to the world is a line in a file outside the store.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use perf_agent::base::{Rng, SeededRng, SystemClock};
use perf_agent::engine::Rest;
use perf_agent::graph::{Graph, Reducer};
use perf_agent::runtime::{Node, NodeError, Outcome, StateView, TaskContext, ThreadStatus, kind};
use perf_agent::store::SqliteStore;
use serde_json::{Value, json};

use crate::runtime::support::{Crew, Rig, draw, list, number, wrote};

const FOLDER: &str = "PERF_AGENT_RANDOM_CRASH_FOLDER";
/// Rounds of the graph's loop; each makes four side effects in three supersteps.
const ROUNDS: u64 = 12;

/// Makes side effects: two, if its policy lets it be asked again.
struct Act {
    folder: PathBuf,
    policy: &'static str,
}

#[async_trait]
impl Node for Act {
    async fn run(&self, view: &StateView, cx: &TaskContext) -> Result<Outcome, NodeError> {
        for number in 0..if self.policy == "at_most_once" { 1 } else { 2 } {
            let key = cx.effects.key(number);
            if cx.effects.begin(&key, self.policy).await?.is_none() {
                let call = format!("{}/{number}", cx.task);
                note(&self.folder, "world.log", &format!("{} {call} {}", self.policy, key.0));
                cx.effects.finish(&key, &json!(1)).await?;
            }
        }
        wrote([("done", json!([view.visits[&cx.node]]))])
    }
}

/// Appends a line to a file, as the world outside would.
fn note(folder: &Path, file: &str, line: &str) {
    let path = folder.join(file);
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    // One write: a line is there as a whole or not at all.
    (&file).write_all(format!("{line}\n").as_bytes()).unwrap();
}

fn lines(folder: &Path, file: &str) -> Vec<String> {
    let text = std::fs::read_to_string(folder.join(file)).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// A fork of two branches with effects, joined by a node that counts and goes round.
fn rounds() -> Arc<Graph> {
    let again = format!("rounds < {ROUNDS}");
    draw("rounds")
        .channel("done", list(), Reducer::Append)
        .channel("rounds", number(), Reducer::Sum)
        .limits(|limits| (limits.supersteps, limits.visits_per_node) = (1_000, 1_000))
        .node("fork", None, &[1, 2])
        .node("once", Some("done"), &[3])
        .node("again", Some("done"), &[3])
        .choice("count", Some("rounds"), &[(&again, Some(0)), ("", None)])
        .done()
}

fn rig(folder: &Path) -> Rig {
    let act = |policy| Act { folder: folder.to_owned(), policy };
    let crew = Crew::default()
        .has("once", act("at_most_once"))
        .has("again", act("idempotent"))
        .does("count", |_, _| wrote([("rounds", json!(1))]));
    let store = Arc::new(SqliteStore::open(folder.join("threads.db")).unwrap());
    Rig::on(store, Arc::new(SystemClock), crew)
}

/// The child's life: start the run unless it was started, drive it, look at the world when asked. Does nothing in an
/// ordinary test run.
#[tokio::test]
async fn child() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    let rig = rig(&folder);
    note(&folder, "lives.log", "open");
    let thread = &rig.thread;
    let begun = rig.store.head(thread).await.unwrap().is_some();
    if !begun && rig.store.inbox(thread).await.unwrap().is_empty() {
        let run = rig.runtime.start(thread, rounds(), Value::Null, Value::Null).await.unwrap();
        note(&folder, "acks.log", &run.0);
    }
    while rig.rest().await == Rest::Person {
        let head = rig.store.head(&rig.thread).await.unwrap().unwrap();
        let (_, interrupt) = head.interrupts().next().unwrap();
        let key = &interrupt.doubt.as_ref().unwrap().0;
        let happened = lines(&folder, "world.log").iter().any(|line| line.ends_with(key));
        let answer = json!({ "happened": happened, "result": 1 });
        let answer = if happened { answer } else { json!({ "happened": false }) };
        // An answer of the life before may be in the inbox already.
        let _ = rig.runtime.resume(&rig.thread, Some(&interrupt.id), answer, "ada").await;
    }
    note(&folder, "lives.log", "done");
}

fn spawn(folder: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["crash::child", "--exact"])
        .env(FOLDER, folder)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// Lets a child live for `ms` from the moment it has opened the file, and kills it. Returns whether it was done before.
fn live(folder: &Path, lives: usize, ms: u64) -> bool {
    let mut child = spawn(folder);
    let begun = Instant::now();
    while lines(folder, "lives.log").len() < lives {
        assert!(begun.elapsed() < Duration::from_secs(60), "the child never opened the file");
        std::thread::sleep(Duration::from_millis(1));
    }
    let until = Instant::now() + Duration::from_millis(ms);
    while Instant::now() < until {
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "the child failed");
            return true;
        }
        std::thread::sleep(Duration::from_micros(300));
    }
    // SIGKILL: nothing of the child gets to clean up.
    child.kill().unwrap();
    child.wait().unwrap();
    lines(folder, "lives.log").last().is_some_and(|line| line == "done")
}

#[tokio::test]
async fn a_run_that_is_killed_at_random_comes_to_its_end_and_repeats_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut rng = SeededRng::new(7);
    let mut kills = 0;
    // The longer it takes, the longer it may live: it ends on a slow disk too.
    while !live(folder, kills + 1, 1 + rng.next_u64() % (8 + 2 * kills as u64)) {
        kills += 1;
        assert!(kills < 300, "it never comes to its end");
    }
    let rig = rig(folder);
    let state = rig.state().await;
    assert_eq!((state.status, &state.values["rounds"]), (ThreadStatus::Done, &json!(ROUNDS)));
    let mut keys: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut at_most_once: BTreeMap<String, u32> = BTreeMap::new();
    for line in lines(folder, "world.log") {
        let (call, key) = line.rsplit_once(' ').unwrap();
        keys.entry(call.to_owned()).or_default().insert(key.to_owned());
        if call.starts_with("at_most_once") {
            *at_most_once.entry(key.to_owned()).or_default() += 1;
        }
    }
    assert_eq!(keys.len() as u64, 3 * ROUNDS, "every effect happened");
    assert!(keys.values().all(|keys| keys.len() == 1), "under one key each: {keys:?}");
    assert!(at_most_once.values().all(|times| *times == 1), "and these once: {at_most_once:?}");
    let history = rig.runtime.history(&rig.thread, None, 10_000).await.unwrap();
    let seqs: Vec<u64> = history.iter().rev().map(|state| state.seq).collect();
    assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>(), "history is linear");
    let events = rig.events().await;
    let numbers: Vec<u64> = events.iter().map(|event| event.seq).collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>(), "the journal has no gap");
    let acknowledged = lines(folder, "acks.log");
    let started = |run: &String| {
        events.iter().any(|event| event.kind == kind::RUN_STARTED && event.run.0 == *run)
    };
    assert!(acknowledged.iter().all(started), "nothing acknowledged is lost: {acknowledged:?}");
    println!("killed {kills} times");
    assert!(kills >= 3, "killed {kills} times only");
}
