//! Threads changed, branched, set back, compared and forgotten by hand.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use perf_agent::base::{Coded, ThreadId};
use perf_agent::graph::{Graph, Reducer};
use perf_agent::runtime::{Pauses, Start, ThreadStatus, Update};
use perf_agent::store::MemoryStore;
use serde_json::{Value, json};

use super::interrupts::question;
use super::support::{Crew, LeapClock, Rig, draw, list, number, wrote};

fn id(name: &str) -> ThreadId {
    ThreadId(name.to_owned())
}

fn values<const N: usize>(values: [(&str, Value); N]) -> BTreeMap<String, Value> {
    values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// `a` (counts) → `b` (counts) → `c` (asks), with a log of all of them.
fn chain() -> Arc<Graph> {
    draw("chain")
        .channel("log", list(), Reducer::Append)
        .channel("n", number(), Reducer::Replace)
        .node("a", Some("log"), &[1])
        .choice("b", Some("log"), &[("n is defined and n == 7", Some(3)), ("", Some(2))])
        .node("c", Some("log"), &[])
        .node("d", Some("log"), &[])
        .done()
}

/// How often each node of the chain ran, in hundreds, tens, ones.
fn counting(ran: &Arc<AtomicU64>) -> Crew {
    let count = |weight: u64| {
        let ran = ran.clone();
        move || ran.fetch_add(weight, Ordering::Relaxed)
    };
    let (a, b, c) = (count(100), count(10), count(1));
    Crew::default()
        .does("a", move |_, _| {
            a();
            wrote([("log", json!([1]))])
        })
        .does("b", move |_, _| {
            b();
            wrote([("log", json!([2]))])
        })
        .does("c", move |view, _| match view.answer {
            None => Ok(question(json!({ "type": "integer" }))),
            Some(_) => {
                c();
                wrote([("log", json!([3]))])
            }
        })
        .does("d", |_, _| wrote([("log", json!([4]))]))
}

#[tokio::test]
async fn an_update_as_the_node_that_asks_stands_for_its_answer_and_ends_the_run() {
    let ran = Arc::new(AtomicU64::new(0));
    let rig = Rig::new(counting(&ran));
    rig.run(&chain(), Value::Null).await;
    let update = Update {
        values: values([("log", json!([9]))]),
        as_node: Some("c".to_owned()),
        by: "ada".to_owned(),
        ..Update::default()
    };
    let state = rig.runtime.update_state(&rig.thread, update).await.unwrap();
    assert_eq!((state.status, &state.values["log"]), (ThreadStatus::Done, &json!([1, 2, 9])));
    assert_eq!(ran.load(Ordering::Relaxed), 110, "c did not run");
    let journal = rig.journal().await;
    assert_eq!(journal[journal.len() - 3..], ["STATE_UPDATED", "STEP_FINISHED c", "RUN_FINISHED"]);
}

#[tokio::test]
async fn an_update_of_a_finished_thread_goes_on_behind_the_node_it_stands_for_once_it_is_told_to() {
    let ran = Arc::new(AtomicU64::new(0));
    let rig = Rig::new(counting(&ran));
    rig.run(&chain(), Value::Null).await;
    rig.runtime.resume(&rig.thread, None, json!(1), "ada").await.unwrap();
    rig.rest().await;
    let update = Update {
        values: values([("n", json!(7))]),
        as_node: Some("b".to_owned()),
        ..Update::default()
    };
    let state = rig.runtime.update_state(&rig.thread, update).await.unwrap();
    assert_eq!(state.next, ["d"], "the route was taken on the new value");
    assert_eq!((state.status, state.held), (ThreadStatus::Interrupted, vec!["d".to_owned()]));
    rig.rest().await;
    assert_eq!(rig.state().await.status, ThreadStatus::Interrupted, "nothing starts by itself");
    rig.runtime.go_on(&rig.thread, "ada").await.unwrap();
    rig.rest().await;
    let state = rig.state().await;
    assert_eq!((state.status, &state.values["log"]), (ThreadStatus::Done, &json!([1, 2, 3, 4])));
}

#[tokio::test]
async fn an_update_that_makes_no_sense_is_refused_and_changes_nothing() {
    let rig = Rig::new(counting(&Arc::default()));
    let before = rig.run(&chain(), Value::Null).await;
    let refused = async |update: Update| {
        rig.runtime.update_state(&rig.thread, update).await.unwrap_err().code()
    };
    let node = |name: &str| Some(name.to_owned());
    let misspelt = Update { values: values([("lgo", json!([1]))]), ..Update::default() };
    assert_eq!(refused(misspelt).await, "runtime.write_unknown");
    let misfit = Update { values: values([("n", json!("x"))]), ..Update::default() };
    assert_eq!(refused(misfit).await, "runtime.write_invalid");
    let nobody = Update { as_node: node("bb"), ..Update::default() };
    assert_eq!(refused(nobody).await, "runtime.unknown_node");
    let jump = Update { as_node: node("a"), goto: vec!["d".to_owned()], ..Update::default() };
    assert_eq!(refused(jump).await, "runtime.goto_undeclared");
    assert_eq!(rig.state().await, before);
    let nowhere = rig.runtime.update_state(&id("nobody"), Update::default()).await.unwrap_err();
    assert_eq!(nowhere.code(), "runtime.unknown_thread");
}

#[tokio::test]
async fn a_jump_goes_to_a_declared_target_and_the_journal_says_what_was_abandoned() {
    let rig = Rig::new(counting(&Arc::default()));
    rig.run(&chain(), Value::Null).await;
    let jump = Update {
        as_node: Some("b".to_owned()),
        goto: vec!["d".to_owned()],
        by: "ada".to_owned(),
        ..Update::default()
    };
    let state = rig.runtime.update_state(&rig.thread, jump).await.unwrap();
    assert_eq!((state.next, state.interrupts.len()), (vec!["d".to_owned()], 0));
    let events = rig.events().await;
    let updated = events.iter().find(|event| event.kind == "STATE_UPDATED").unwrap();
    assert_eq!(updated.data["abandoned"], json!(["c"]));
}

#[tokio::test]
async fn a_fork_goes_on_from_any_checkpoint_without_running_what_had_finished() {
    let ran = Arc::new(AtomicU64::new(0));
    let rig = Rig::new(counting(&ran));
    rig.run(&chain(), Value::Null).await;
    rig.runtime.resume(&rig.thread, None, json!(1), "ada").await.unwrap();
    rig.rest().await;
    assert_eq!(ran.load(Ordering::Relaxed), 111);
    let history = rig.runtime.history(&rig.thread, None, 100).await.unwrap();
    let asked = history.iter().find(|state| !state.interrupts.is_empty()).unwrap();

    let state = rig.runtime.fork(&rig.thread, Some(asked.seq), &id("u")).await.unwrap();
    assert_ne!(state.run, asked.run, "it is a run of its own");
    assert_ne!(state.interrupts[0].id, asked.interrupts[0].id, "with questions of its own");
    rig.runtime.resume(&id("u"), None, json!(2), "bob").await.unwrap();
    rig.runtime.settle(&id("u")).await.unwrap();
    let branch = Rig { thread: id("u"), ..rig };
    branch.rest().await;
    let state = branch.state().await;
    assert_eq!((state.status, &state.values["log"]), (ThreadStatus::Done, &json!([1, 2, 3])));
    assert_eq!(ran.load(Ordering::Relaxed), 112, "only c ran again");
    let taken = branch.runtime.fork(&id("t"), None, &id("u")).await.unwrap_err();
    assert_eq!(taken.code(), "runtime.thread_exists");
    let unknown = branch.runtime.fork(&id("t"), Some(99), &id("v")).await.unwrap_err();
    assert_eq!(unknown.code(), "runtime.unknown_checkpoint");
}

#[tokio::test]
async fn a_fork_keeps_the_branch_that_had_finished_beside_a_question() {
    let ran = Arc::new(AtomicU64::new(0));
    let graph = draw("beside")
        .channel("log", list(), Reducer::Append)
        .start(&[0, 1])
        .node("works", Some("log"), &[2])
        .node("asks", Some("log"), &[2])
        .node("both", None, &[])
        .done();
    let counted = ran.clone();
    let crew = Crew::default()
        .does("works", move |_, _| {
            counted.fetch_add(1, Ordering::Relaxed);
            wrote([("log", json!([1]))])
        })
        .does("asks", |view, _| match &view.answer {
            None => Ok(question(json!({}))),
            Some(answer) => wrote([("log", json!([answer.value]))]),
        });
    let rig = Rig::new(crew);
    let asked = rig.run(&graph, Value::Null).await;
    // One branch while the superstep is open, one after it is closed and set back on the thread itself.
    rig.runtime.fork(&rig.thread, None, &id("early")).await.unwrap();
    rig.runtime.resume(&rig.thread, None, json!(5), "ada").await.unwrap();
    rig.rest().await;
    rig.runtime.fork(&rig.thread, Some(asked.seq), &id("late")).await.unwrap();
    rig.runtime.rewind(&rig.thread, asked.seq).await.unwrap();
    for (thread, answer) in [("early", 6), ("late", 7), ("t", 8)] {
        let rig = Rig {
            runtime: rig.runtime.clone(),
            engine: rig.engine.clone(),
            store: rig.store.clone(),
            thread: id(thread),
        };
        rig.runtime.resume(&rig.thread, None, json!(answer), "bob").await.unwrap();
        rig.rest().await;
        let state = rig.state().await;
        assert_eq!((state.status, &state.values["log"]), (ThreadStatus::Done, &json!([1, answer])));
    }
    assert_eq!(ran.load(Ordering::Relaxed), 1, "the finished branch never ran again");
}

#[tokio::test]
async fn a_thread_set_back_keeps_its_history_and_its_old_answers_answer_nothing() {
    let rig = Rig::new(counting(&Arc::default()));
    let asked = rig.run(&chain(), Value::Null).await;
    rig.runtime.resume(&rig.thread, None, json!(1), "ada").await.unwrap();
    rig.rest().await;
    let done = rig.state().await;
    let state = rig.runtime.rewind(&rig.thread, asked.seq).await.unwrap();
    assert_eq!((state.seq, &state.values), (done.seq + 1, &asked.values));
    assert_eq!(rig.runtime.state_at(&rig.thread, done.seq).await.unwrap().unwrap(), done);
    let old = asked.interrupts[0].id.as_str();
    let stale = rig.runtime.resume(&rig.thread, Some(old), json!(1), "eve").await.unwrap_err();
    assert_eq!(stale.code(), "runtime.interrupt_stale");
    rig.runtime.resume(&rig.thread, None, json!(1), "ada").await.unwrap();
    rig.rest().await;
    assert_eq!(rig.state().await.status, ThreadStatus::Done);
}

#[tokio::test]
async fn a_forked_timer_has_as_long_to_run_as_it_had() {
    let graph = draw("slow").node("wait", None, &[]).done();
    let crew = Crew::default().does("wait", |view, cx| match view.woken {
        Some(_) => wrote([]),
        None => Ok(perf_agent::runtime::Outcome::Wait(perf_agent::runtime::WaitFor::Until(
            cx.clock.now().plus(5_000).0,
        ))),
    });
    let clock = LeapClock::at(1_000);
    let rig = Rig::on(Arc::new(MemoryStore::new()), clock, crew);
    rig.run(&graph, Value::Null).await;
    let history = rig.runtime.history(&rig.thread, None, 10).await.unwrap();
    let waiting = history.iter().find(|state| state.wake_at.is_some()).unwrap();
    let forked = rig.runtime.fork(&rig.thread, Some(waiting.seq), &id("u")).await.unwrap();
    assert_eq!((forked.wake_at, forked.held.len()), (None, 1), "held: it does not ring");
    rig.runtime.go_on(&id("u"), "ada").await.unwrap();
    rig.runtime.settle(&id("u")).await.unwrap();
    let state = rig.runtime.state(&id("u")).await.unwrap().unwrap();
    assert_eq!(state.wake_at.map(|at| at.since(forked.updated)), Some(5_000));
}

#[tokio::test]
async fn two_branches_are_compared_from_where_they_part() {
    let rig = Rig::new(counting(&Arc::default()));
    let asked = rig.run(&chain(), Value::Null).await;
    rig.runtime.fork(&rig.thread, None, &id("u")).await.unwrap();
    let update = |as_node: &str, n: i64| Update {
        values: values([("n", json!(n))]),
        as_node: Some(as_node.to_owned()),
        ..Update::default()
    };
    rig.runtime.update_state(&id("u"), update("b", 7)).await.unwrap();
    let diff = rig.runtime.diff((&rig.thread, None), (&id("u"), None)).await.unwrap();
    assert_eq!(diff.common_seq, asked.seq);
    assert_eq!(diff.channels.keys().collect::<Vec<_>>(), ["n"]);
    assert_eq!((&diff.channels["n"].left, &diff.channels["n"].right), (&None, &Some(json!(7))));
    assert_eq!(diff.next.unwrap().right.unwrap(), ["d"]);
    let same = rig.runtime.diff((&rig.thread, None), (&rig.thread, None)).await.unwrap();
    assert!(same.channels.is_empty() && same.visits.is_empty() && same.next.is_none());
}

#[tokio::test]
async fn a_run_is_held_before_and_after_the_nodes_its_caller_names() {
    let rig = Rig::new(counting(&Arc::default()));
    let pauses = Pauses { before: vec!["b".to_owned()], after: vec!["b".to_owned()] };
    let start = Start { pauses, ..Start::default() };
    rig.runtime.start_run(&rig.thread, chain(), start).await.unwrap();
    for next in ["b", "c"] {
        rig.rest().await;
        let state = rig.state().await;
        assert_eq!((state.status, state.held), (ThreadStatus::Interrupted, vec![next.to_owned()]));
        rig.runtime.go_on(&rig.thread, "ada").await.unwrap();
    }
    rig.rest().await;
    assert_eq!(rig.state().await.interrupts.len(), 1);
    let pauses = Pauses { before: vec!["x".to_owned()], after: Vec::new() };
    let start = Start { pauses, ..Start::default() };
    let refused = rig.runtime.start_run(&id("v"), chain(), start).await.unwrap_err();
    assert_eq!(refused.code(), "runtime.unknown_node");
}

#[tokio::test]
async fn a_queued_run_can_be_taken_back_before_it_starts() {
    let rig = Rig::new(counting(&Arc::default()));
    let first = rig.run(&chain(), Value::Null).await;
    let queued = rig.runtime.start(&rig.thread, chain(), Value::Null, Value::Null).await.unwrap();
    rig.runtime.cancel_run(&rig.thread, &queued, "ada").await.unwrap();
    rig.rest().await;
    assert_eq!(rig.state().await.run, first.run, "the run that goes on is not touched");
    let again = rig.runtime.cancel_run(&rig.thread, &queued, "ada").await.unwrap_err();
    assert_eq!(again.code(), "runtime.no_run");
    rig.runtime.resume(&rig.thread, None, json!(1), "ada").await.unwrap();
    rig.rest().await;
    assert_eq!((rig.state().await.run, rig.state().await.status), (first.run, ThreadStatus::Done));
    let events = rig.events().await;
    let cancelled = events.iter().find(|event| event.kind == "RUN_CANCELLED").unwrap();
    assert_eq!(cancelled.run, queued);
}

#[tokio::test]
async fn a_failed_run_that_is_forked_goes_on_from_its_failure() {
    let ran = Arc::new(AtomicU64::new(0));
    let counted = ran.clone();
    let graph = draw("fails").node("a", None, &[]).done();
    let crew = Crew::default().does("a", move |_, _| {
        if counted.fetch_add(1, Ordering::Relaxed) == 0 {
            return Err(super::support::failure(perf_agent::runtime::ErrorClass::Fatal));
        }
        wrote([])
    });
    let rig = Rig::new(crew);
    assert_eq!(rig.run(&graph, Value::Null).await.status, ThreadStatus::Error);
    let forked = rig.runtime.fork(&rig.thread, None, &id("u")).await.unwrap();
    assert_eq!((forked.status, forked.error), (ThreadStatus::Interrupted, None));
    rig.runtime.go_on(&id("u"), "ada").await.unwrap();
    let branch = Rig { thread: id("u"), ..rig };
    branch.rest().await;
    assert_eq!(branch.state().await.status, ThreadStatus::Done);
}

#[tokio::test]
async fn a_pruned_thread_keeps_its_newest_checkpoints_and_a_deleted_one_nothing() {
    let rig = Rig::new(counting(&Arc::default()));
    rig.run(&chain(), Value::Null).await;
    assert_eq!(rig.runtime.prune(&rig.thread, 1).await.unwrap(), 0, "an open run is left whole");
    rig.runtime.resume(&rig.thread, None, json!(1), "ada").await.unwrap();
    rig.rest().await;
    let state = rig.state().await;
    assert_eq!(rig.runtime.prune(&rig.thread, 1).await.unwrap(), state.seq - 1);
    assert_eq!(rig.state().await, state);
    rig.runtime.delete(&rig.thread).await.unwrap();
    assert_eq!(rig.runtime.state(&rig.thread).await.unwrap(), None);
    assert_eq!(
        rig.runtime.prune(&rig.thread, 1).await.unwrap_err().code(),
        "runtime.unknown_thread"
    );
}
