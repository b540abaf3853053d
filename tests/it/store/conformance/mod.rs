//! What every checkpoint store must do. A new store adds one line to `every_store!`.

mod threads;

use perf_agent::base::{Documents, EffectKey, Millis, ThreadId};
use perf_agent::runtime::{
    Begun, CheckpointStore, Committed, Letter, PostOutcome, Status, Task, TaskState, Verdict,
    WaitFor,
};
use perf_agent::store::{MemoryStore, SqliteStore};
use serde_json::{Value, json};

use super::pen::{Pen, Store, event, letter, result, thread};
use threads::*;

macro_rules! every_store {
    ($($law:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test]
            async fn $law() {
                super::$law(std::sync::Arc::new(super::MemoryStore::new())).await;
            })*
        }
        mod sqlite {
            $(#[tokio::test]
            async fn $law() {
                let folder = tempfile::tempdir().unwrap();
                let store = super::SqliteStore::open(folder.path().join("threads.db")).unwrap();
                super::$law(std::sync::Arc::new(store)).await;
            })*
        }
    };
}

every_store!(
    a_commit_is_the_head_and_every_one_before_it_stays_readable,
    of_two_commits_on_one_parent_one_is_stale,
    an_owner_that_was_taken_over_can_write_nothing,
    values_that_grow_read_back_at_every_version,
    unset_values_read_back_as_unset,
    events_are_numbered_without_gaps_whoever_writes_them,
    letters_come_in_order_once_and_a_dedupe_key_counts_for_ever,
    a_commit_that_must_not_beat_a_letter_is_stale,
    an_effect_is_fresh_then_in_doubt_then_done,
    what_a_person_says_of_an_effect_in_doubt_holds,
    results_of_finished_tasks_wait_for_the_superstep_to_close,
    wakes_follow_the_newest_commit,
    ready_threads_are_found_when_they_are_stale,
    threads_are_listed_newest_first,
    a_fork_has_the_history_up_to_its_point_and_goes_its_own_way,
    a_fork_at_the_newest_checkpoint_takes_finished_branches_along,
    a_copy_is_whole_and_apart,
    pruning_keeps_the_newest_and_their_values,
    pruning_leaves_an_open_run_what_it_may_be_rolled_back_to,
    retention_forgets_finished_threads_by_number_and_age,
    retention_shortens_what_it_keeps,
    retention_leaves_threads_with_something_to_do_alone,
    a_deleted_thread_is_gone_and_its_owner_fenced,
    a_graph_is_kept_by_its_hash,
    documents_are_swapped_only_against_the_version_expected,
    many_writers_at_once_lose_nothing,
);

async fn a_commit_is_the_head_and_every_one_before_it_stays_readable<S: CheckpointStore>(
    store: Store<S>,
) {
    assert_eq!(store.head(&thread()).await.unwrap(), None);
    let mut pen = Pen::new(&*store, "t").await;
    pen.state.tasks = vec![Task {
        node: "ask".to_owned(),
        state: TaskState::Waiting(WaitFor::Until(77)),
        look: false,
        since: 0,
        asked: 1,
        held: false,
    }];
    pen.state.signals = vec![("go".to_owned(), json!(1))];
    let mut states = Vec::new();
    for n in 0..5 {
        states.push(
            pen.write(&[("n", Some(json!(n)), 0), ("text", Some(json!("x".repeat(900))), 0)]).await,
        );
    }
    assert_eq!(store.head(&thread()).await.unwrap().as_ref(), states.last());
    for state in &states {
        assert_eq!(store.state_at(&thread(), state.seq).await.unwrap().as_ref(), Some(state));
    }
    assert_eq!(store.state_at(&thread(), 99).await.unwrap(), None);
    states.reverse();
    assert_eq!(store.history(&thread(), None, 100).await.unwrap(), states);
    assert_eq!(store.history(&thread(), Some(4), 2).await.unwrap(), states[2..4]);
}

async fn of_two_commits_on_one_parent_one_is_stale<S: CheckpointStore>(store: Store<S>) {
    let mut pen = Pen::new(&*store, "t").await;
    let (first, second) = (pen.next(&[("n", Some(json!(1)), 0)]), {
        let mut again = Pen::new_like(&pen);
        again.next(&[("n", Some(json!(2)), 0)])
    });
    assert_eq!(store.commit(first).await.unwrap(), Committed::Committed);
    assert_eq!(store.commit(second).await.unwrap(), Committed::Stale);
    let head = store.head(&thread()).await.unwrap().unwrap();
    assert_eq!(head.channels.get("n").unwrap().value.as_deref(), Some(&json!(1)));
}

async fn an_owner_that_was_taken_over_can_write_nothing<S: CheckpointStore>(store: Store<S>) {
    let mut old = Pen::new(&*store, "t").await;
    let newer = store.open_epoch(&thread(), "other").await.unwrap().epoch;
    assert!(newer > old.epoch);
    let commit = old.next(&[]);
    assert_eq!(store.commit(commit).await.unwrap(), Committed::Fenced);
    assert!(!store.append_events(&thread(), old.epoch, vec![event("A")]).await.unwrap());
    assert!(!store.put_task_writes(&thread(), old.epoch, &result("a"), vec![]).await.unwrap());
    let key = EffectKey("k".to_owned());
    let begun = store.effect_begin(&thread(), old.epoch, &key, "probe").await.unwrap();
    assert_eq!(begun, Begun::Fenced);
    assert_eq!(store.head(&thread()).await.unwrap(), None);
    assert!(store.events(&thread(), 0, 10).await.unwrap().is_empty());
}

async fn values_that_grow_read_back_at_every_version<S: CheckpointStore>(store: Store<S>) {
    let mut pen = Pen::new(&*store, "t").await;
    let mut items: Vec<Value> = Vec::new();
    // Past the longest chain of deltas, with a change inside now and then.
    for n in 0..130 {
        let mut kept = items.len();
        if n % 37 == 36 {
            kept = items.len() / 2;
            items[kept] = json!("changed");
        }
        items.push(json!({ "n": n }));
        pen.write(&[("items", Some(json!(items)), kept)]).await;
    }
    let history = store.history(&thread(), None, 1_000).await.unwrap();
    assert_eq!(history.len(), 130);
    for state in history {
        let alone = store.state_at(&thread(), state.seq).await.unwrap().unwrap();
        assert_eq!(alone, state);
        let value = state.channels.get("items").unwrap().value.as_deref().unwrap();
        assert_eq!(value.as_array().unwrap().len() as u64, state.seq);
    }
    let head = store.head(&thread()).await.unwrap().unwrap();
    assert_eq!(head.channels.get("items").unwrap().value.as_deref(), Some(&json!(items)));
}

async fn unset_values_read_back_as_unset<S: CheckpointStore>(store: Store<S>) {
    let mut pen = Pen::new(&*store, "t").await;
    pen.write(&[("n", Some(json!([1])), 0)]).await;
    pen.write(&[("n", None, 0)]).await;
    pen.write(&[("n", Some(Value::Null), 0)]).await;
    let values: Vec<Option<Value>> = store
        .history(&thread(), None, 9)
        .await
        .unwrap()
        .iter()
        .map(|state| state.channels.get("n").unwrap().value.as_deref().cloned())
        .collect();
    assert_eq!(values, [Some(Value::Null), None, Some(json!([1]))]);
}

async fn events_are_numbered_without_gaps_whoever_writes_them<S: CheckpointStore>(store: Store<S>) {
    let mut pen = Pen::new(&*store, "t").await;
    let mut commit = pen.next(&[]);
    commit.events = vec![event("A"), event("B")];
    store.commit(commit).await.unwrap();
    assert!(store.append_events(&thread(), pen.epoch, vec![event("C")]).await.unwrap());
    assert!(
        store.put_task_writes(&thread(), pen.epoch, &result("a"), vec![event("D")]).await.unwrap()
    );
    let mut commit = pen.next(&[]);
    commit.events = vec![event("E")];
    store.commit(commit).await.unwrap();
    let read = |after, limit| {
        let store = store.clone();
        async move {
            let events = store.events(&thread(), after, limit).await.unwrap();
            events.iter().map(|event| format!("{}{}", event.seq, event.kind)).collect::<Vec<_>>()
        }
    };
    assert_eq!(read(0, 10).await, ["1A", "2B", "3C", "4D", "5E"]);
    assert_eq!(read(1, 2).await, ["2B", "3C"]);
    assert!(read(5, 10).await.is_empty());
}

async fn letters_come_in_order_once_and_a_dedupe_key_counts_for_ever<S: CheckpointStore>(
    store: Store<S>,
) {
    let push = |name: &'static str, dedupe: Option<&'static str>| {
        let store = store.clone();
        async move { store.inbox_push(&thread(), &letter(name), Millis(1), dedupe).await.unwrap() }
    };
    let PostOutcome::Accepted(first) = push("a", Some("key")).await else { panic!("refused") };
    assert_eq!(push("b", Some("key")).await, PostOutcome::Duplicate);
    let PostOutcome::Accepted(second) = push("c", None).await else { panic!("refused") };
    let opened = store.open_epoch(&thread(), "test").await.unwrap();
    let names: Vec<&Letter> = opened.inbox.iter().map(|posted| &posted.letter).collect();
    assert_eq!(names, [&letter("a"), &letter("c")]);
    let mut pen = Pen::new(&*store, "t").await;
    let mut commit = pen.next(&[]);
    commit.applied = vec![first];
    store.commit(commit).await.unwrap();
    let left: Vec<u64> =
        store.inbox(&thread()).await.unwrap().iter().map(|posted| posted.id).collect();
    assert_eq!(left, [second]);
    assert_eq!(push("d", Some("key")).await, PostOutcome::Duplicate);
}

async fn a_commit_that_must_not_beat_a_letter_is_stale<S: CheckpointStore>(store: Store<S>) {
    let mut pen = Pen::new(&*store, "t").await;
    let mut commit = pen.next(&[]);
    commit.inbox_read_to = Some(0);
    store.inbox_push(&thread(), &letter("a"), Millis(1), None).await.unwrap();
    assert_eq!(store.commit(commit.clone()).await.unwrap(), Committed::Stale);
    commit.inbox_read_to = store.inbox(&thread()).await.unwrap().last().map(|posted| posted.id);
    assert_eq!(store.commit(commit).await.unwrap(), Committed::Committed);
}

async fn an_effect_is_fresh_then_in_doubt_then_done<S: CheckpointStore>(store: Store<S>) {
    let pen = Pen::new(&*store, "t").await;
    let key = EffectKey("k".to_owned());
    let begin = || store.effect_begin(&pen.state.thread, pen.epoch, &key, "probe");
    assert_eq!(begin().await.unwrap(), Begun::Fresh);
    assert_eq!(begin().await.unwrap(), Begun::InDoubt);
    store.effect_finish(&key, &json!({ "ok": true })).await.unwrap();
    assert_eq!(begin().await.unwrap(), Begun::Done(json!({ "ok": true })));
}

async fn what_a_person_says_of_an_effect_in_doubt_holds<S: CheckpointStore>(store: Store<S>) {
    let mut pen = Pen::new(&*store, "t").await;
    let keys = [EffectKey("a".to_owned()), EffectKey("b".to_owned())];
    for key in &keys {
        store.effect_begin(&thread(), pen.epoch, key, "at_most_once").await.unwrap();
    }
    let mut commit = pen.next(&[]);
    commit.effects =
        vec![(keys[0].clone(), Verdict::NotDone), (keys[1].clone(), Verdict::Done(json!(1)))];
    store.commit(commit).await.unwrap();
    let begin = |key| store.effect_begin(&pen.state.thread, pen.epoch, key, "at_most_once");
    assert_eq!(begin(&keys[0]).await.unwrap(), Begun::Fresh);
    assert_eq!(begin(&keys[1]).await.unwrap(), Begun::Done(json!(1)));
}

async fn results_of_finished_tasks_wait_for_the_superstep_to_close<S: CheckpointStore>(
    store: Store<S>,
) {
    let mut pen = Pen::new(&*store, "t").await;
    for node in ["a", "b", "a"] {
        assert!(store.put_task_writes(&thread(), pen.epoch, &result(node), vec![]).await.unwrap());
    }
    pen.write(&[]).await;
    let opened = store.open_epoch(&thread(), "test").await.unwrap();
    let mut nodes: Vec<&str> = opened.results.iter().map(|result| result.node.as_str()).collect();
    nodes.sort_unstable();
    assert_eq!(nodes, ["a", "b"]);
    pen.epoch = opened.epoch;
    let mut commit = pen.next(&[]);
    commit.closes_superstep = true;
    store.commit(commit).await.unwrap();
    assert!(store.open_epoch(&thread(), "test").await.unwrap().results.is_empty());
}

async fn wakes_follow_the_newest_commit<S: CheckpointStore>(store: Store<S>) {
    let never = Millis(u64::MAX);
    assert_eq!(store.wakes(never, 9).await.unwrap(), []);
    let timer = |at: u64| Task {
        node: "wait".to_owned(),
        state: TaskState::Waiting(WaitFor::Until(at)),
        look: false,
        since: 0,
        asked: 0,
        held: false,
    };
    let mut late = Pen::new(&*store, "late").await;
    late.state.tasks = vec![timer(900)];
    late.write(&[]).await;
    let mut soon = Pen::new(&*store, "soon").await;
    soon.state.tasks = vec![timer(500)];
    soon.write(&[]).await;
    let wake = |at: u64, name: &str| (Millis(at), ThreadId(name.to_owned()));
    assert_eq!(store.wakes(Millis(499), 9).await.unwrap(), []);
    assert_eq!(store.wakes(Millis(500), 9).await.unwrap(), [wake(500, "soon")]);
    assert_eq!(store.wakes(never, 9).await.unwrap(), [wake(500, "soon"), wake(900, "late")]);
    assert_eq!(store.wakes(never, 1).await.unwrap(), [wake(500, "soon")]);
    store.put_wake(&late.state.thread, Millis(400)).await.unwrap();
    store.put_wake(&late.state.thread, Millis(800)).await.unwrap();
    assert_eq!(store.wakes(Millis(450), 9).await.unwrap(), [wake(400, "late")]);
    for pen in [&mut late, &mut soon] {
        pen.state.tasks.clear();
        pen.write(&[]).await;
    }
    assert_eq!(store.wakes(never, 9).await.unwrap(), []);
}

async fn ready_threads_are_found_when_they_are_stale<S: CheckpointStore>(store: Store<S>) {
    let mut running = Pen::new(&*store, "running").await;
    running.write(&[]).await;
    let mut done = Pen::new(&*store, "done").await;
    done.state.status = Status::Done;
    done.write(&[]).await;
    let posted = ThreadId("posted".to_owned());
    store.inbox_push(&posted, &letter("a"), Millis(20), None).await.unwrap();
    let ready = |older| {
        let store = store.clone();
        async move {
            let threads = store.stale_ready(Millis(older), 9).await.unwrap();
            threads.into_iter().map(|thread| thread.0).collect::<Vec<_>>()
        }
    };
    assert!(ready(10).await.is_empty());
    assert_eq!(ready(11).await, ["running"]);
    assert_eq!(ready(u64::MAX).await, ["running", "posted"]);
}

async fn threads_are_listed_newest_first<S: CheckpointStore>(store: Store<S>) {
    let mut first = Pen::new(&*store, "first").await;
    let head = first.write(&[]).await;
    store.inbox_push(&ThreadId("second".to_owned()), &letter("a"), Millis(50), None).await.unwrap();
    store.open_epoch(&ThreadId("never ran".to_owned()), "test").await.unwrap();
    let rows = store.threads(9).await.unwrap();
    let names: Vec<&str> = rows.iter().map(|row| row.thread.as_str()).collect();
    assert_eq!(names, ["second", "first"]);
    assert_eq!((&rows[0].head, &rows[1].head), (&None, &Some(head)));
    assert_eq!(store.threads(1).await.unwrap().len(), 1);
}

async fn a_graph_is_kept_by_its_hash<S: CheckpointStore>(store: Store<S>) {
    assert_eq!(store.graph("h").await.unwrap(), None);
    store.put_graph("h", "first").await.unwrap();
    store.put_graph("h", "second").await.unwrap();
    assert_eq!(store.graph("h").await.unwrap().as_deref(), Some("first"));
}

async fn documents_are_swapped_only_against_the_version_expected<S: CheckpointStore + Documents>(
    store: Store<S>,
) {
    let put = |key: &'static str, expected, value| {
        let store = store.clone();
        async move { store.put("rollouts", key, expected, value).await.unwrap() }
    };
    assert_eq!(put("a", Some(0), json!(1)).await, Some(1));
    assert_eq!(put("a", Some(0), json!(2)).await, None);
    assert_eq!(put("b", None, json!(3)).await, Some(1));
    assert_eq!(put("a", Some(1), json!(4)).await, Some(2));
    let held = store.get("rollouts", "a").await.unwrap().unwrap();
    assert_eq!((held.version, held.value), (2, json!(4)));
    assert_eq!(store.get("trials", "a").await.unwrap(), None);
    let keys: Vec<String> =
        store.list("rollouts", 9).await.unwrap().into_iter().map(|held| held.key).collect();
    assert_eq!(keys, ["a", "b"]);
    assert_eq!(store.list("rollouts", 1).await.unwrap().len(), 1);
    assert!(store.remove("rollouts", "a").await.unwrap());
    assert!(!store.remove("rollouts", "a").await.unwrap());
    assert_eq!(store.get("rollouts", "a").await.unwrap(), None);
    assert_eq!(put("a", Some(0), json!(5)).await, Some(1));
}

async fn many_writers_at_once_lose_nothing<S: CheckpointStore + 'static>(store: Store<S>) {
    let writers = (0..16).map(|n| {
        let store = store.clone();
        tokio::spawn(async move {
            let name = format!("thread {n}");
            let mut pen = Pen::new(&*store, &name).await;
            for step in 0..10 {
                pen.write(&[("n", Some(json!(step)), 0)]).await;
            }
            store.head(&ThreadId(name)).await.unwrap().unwrap().seq
        })
    });
    let seqs: Result<Vec<u64>, _> = futures::future::join_all(writers).await.into_iter().collect();
    assert!(seqs.unwrap().into_iter().all(|seq| seq == 10));
}
