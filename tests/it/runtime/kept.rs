//! A branch that had finished is never run again, also when its superstep was abandoned long ago.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use perf_agent::base::{Coded, ThreadId};
use perf_agent::graph::{Graph, Reducer};
use perf_agent::runtime::{Grant, Outcome, Retention, ThreadStatus, Usage};
use serde_json::{Value, json};

use super::interrupts::question;
use super::support::{Crew, Rig, draw, list, wrote};

fn id(name: &str) -> ThreadId {
    ThreadId(name.to_owned())
}

/// `works` beside `asks`, then `both`.
fn beside() -> Arc<Graph> {
    draw("beside")
        .channel("log", list(), Reducer::Append)
        .start(&[0, 1])
        .node("works", Some("log"), &[2])
        .node("asks", Some("log"), &[2])
        .node("both", None, &[])
        .done()
}

fn rig(ran: &Arc<AtomicU64>) -> Rig {
    let ran = ran.clone();
    Rig::new(
        Crew::default()
            .does("works", move |_, _| {
                ran.fetch_add(1, Ordering::Relaxed);
                wrote([("log", json!([1]))])
            })
            .does("asks", |view, _| match &view.answer {
                None => Ok(question(json!({}))),
                Some(answer) => wrote([("log", json!([answer.value]))]),
            }),
    )
}

fn on(rig: &Rig, thread: &str) -> Rig {
    Rig {
        runtime: rig.runtime.clone(),
        engine: rig.engine.clone(),
        store: rig.store.clone(),
        thread: id(thread),
    }
}

/// A cancelled run whose branch `works` had finished, and a whole run after it. Gives the checkpoint that asked.
async fn abandoned(rig: &Rig) -> u64 {
    let asked = rig.run(&beside(), Value::Null).await;
    rig.runtime.cancel(&rig.thread, "ada").await.unwrap();
    rig.rest().await;
    rig.run(&beside(), Value::Null).await;
    rig.runtime.resume(&rig.thread, None, json!(5), "ada").await.unwrap();
    rig.rest().await;
    assert_eq!(rig.state().await.values["log"], json!([1, 5]));
    asked.seq
}

#[tokio::test]
async fn a_fork_of_a_cancelled_checkpoint_keeps_its_finished_branch_after_a_newer_run() {
    let ran = Arc::new(AtomicU64::new(0));
    let rig = rig(&ran);
    let asked = abandoned(&rig).await;
    rig.runtime.fork(&rig.thread, Some(asked), &id("fork")).await.unwrap();
    // Whose own journal knows nothing of it.
    rig.runtime.fork(&id("fork"), Some(asked), &id("fork of fork")).await.unwrap();
    rig.runtime.rewind(&rig.thread, asked).await.unwrap();
    for (thread, answer) in [("fork", 6), ("fork of fork", 7), ("t", 8)] {
        let rig = on(&rig, thread);
        rig.runtime.resume(&rig.thread, None, json!(answer), "bob").await.unwrap();
        rig.rest().await;
        let state = rig.state().await;
        assert_eq!((state.status, &state.values["log"]), (ThreadStatus::Done, &json!([1, answer])));
    }
    assert_eq!(ran.load(Ordering::Relaxed), 2, "once in each of the two runs, and never again");
}

#[tokio::test]
async fn a_branch_that_had_finished_when_the_thread_was_set_back_is_still_known_afterwards() {
    let ran = Arc::new(AtomicU64::new(0));
    let rig = rig(&ran);
    let asked = rig.run(&beside(), Value::Null).await;
    rig.runtime.rewind(&rig.thread, asked.seq).await.unwrap();
    rig.runtime.rewind(&rig.thread, asked.seq).await.unwrap();
    rig.runtime.resume(&rig.thread, None, json!(9), "ada").await.unwrap();
    rig.rest().await;
    assert_eq!(rig.state().await.values["log"], json!([1, 9]));
    assert_eq!(ran.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_fork_whose_finished_branch_is_not_kept_any_more_is_refused_and_repeats_nothing() {
    let ran = Arc::new(AtomicU64::new(0));
    let rig = rig(&ran);
    let asked = abandoned(&rig).await;
    let short = Retention { events_max: Some(1), ..Retention::default() };
    assert!(rig.store.retain(&short).await.unwrap().events > 0);
    let refused = rig.runtime.fork(&rig.thread, Some(asked), &id("fork")).await.unwrap_err();
    assert_eq!(refused.code(), "runtime.fork_incomplete");
    let refused = rig.runtime.rewind(&rig.thread, asked).await.unwrap_err();
    assert_eq!(refused.code(), "runtime.fork_incomplete");
    assert_eq!(rig.runtime.state(&id("fork")).await.unwrap(), None);
    assert_eq!(ran.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn consent_that_came_with_a_finished_branch_is_not_that_of_a_fork() {
    let grant = || Grant { node: "works".to_owned(), by: "ada".to_owned(), answer: json!("yes") };
    let crew = Crew::default()
        .does("works", move |_, _| {
            let writes = vec![("log".to_owned(), json!([1]))];
            Ok(Outcome::Update { writes, grant: Some(grant()), usage: Usage::default() })
        })
        .does("asks", |view, _| match &view.answer {
            None => Ok(question(json!({}))),
            Some(answer) => wrote([("log", json!([answer.value]))]),
        });
    let rig = Rig::new(crew);
    rig.run(&beside(), Value::Null).await;
    rig.runtime.fork(&rig.thread, None, &id("fork")).await.unwrap();
    for thread in ["t", "fork"] {
        let rig = on(&rig, thread);
        rig.runtime.resume(&rig.thread, None, json!(5), "bob").await.unwrap();
        rig.rest().await;
    }
    let grants =
        async |thread: &str| rig.store.head(&id(thread)).await.unwrap().unwrap().grants.len();
    assert_eq!((grants("t").await, grants("fork").await), (1, 0));
}
