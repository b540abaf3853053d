//! Operations on whole threads: fork, copy, prune, retention, delete.

use std::sync::Arc;

use perf_agent::base::{Millis, RunId, ThreadId};
use perf_agent::runtime::{
    Checkpoint, CheckpointStore, Committed, Forgotten, Retention, RunInfo, Status,
};
use serde_json::json;

use crate::store::pen::{Pen, Store, event, letter, result, thread};

pub async fn a_fork_has_the_history_up_to_its_point_and_goes_its_own_way<S: CheckpointStore>(
    store: Store<S>,
) {
    let mut pen = Pen::new(&*store, "t").await;
    for n in 0..4 {
        let items: Vec<i32> = (0..=n).collect();
        pen.write(&[("items", Some(json!(items)), n as usize)]).await;
    }
    let to = ThreadId("fork".to_owned());
    assert!(store.fork(&thread(), 2, &to).await.unwrap());
    assert!(!store.fork(&thread(), 2, &to).await.unwrap(), "it exists");
    assert!(!store.fork(&thread(), 99, &ThreadId("other".to_owned())).await.unwrap());
    let head = store.head(&to).await.unwrap().unwrap();
    assert_eq!(
        (head.seq, head.channels.get("items").unwrap().value.as_deref()),
        (2, Some(&json!([0, 1])))
    );
    assert_eq!(store.history(&to, None, 9).await.unwrap().len(), 2);
    let epoch = store.open_epoch(&to, "test").await.unwrap().epoch;
    let mut fork = Pen { store: &*store, epoch, state: (*head).clone() };
    fork.write(&[("items", Some(json!([0, 1, 9])), 2)]).await;
    let original = store.head(&thread()).await.unwrap().unwrap();
    assert_eq!(
        original.channels.get("items").unwrap().value.as_deref(),
        Some(&json!([0, 1, 2, 3]))
    );
    let forked = store.head(&to).await.unwrap().unwrap();
    assert_eq!(forked.channels.get("items").unwrap().value.as_deref(), Some(&json!([0, 1, 9])));
}

pub async fn pruning_keeps_the_newest_and_their_values<S: CheckpointStore>(store: Store<S>) {
    let mut pen = Pen::new(&*store, "t").await;
    pen.write(&[("old", Some(json!("stays")), 0)]).await;
    for n in 0..60 {
        let items: Vec<i32> = (0..=n).collect();
        pen.state.status = if n == 59 { Status::Done } else { Status::Running };
        pen.write(&[("items", Some(json!(items)), n as usize)]).await;
    }
    let before = store.history(&thread(), None, 3).await.unwrap();
    assert_eq!(store.prune(&thread(), 3).await.unwrap(), 58);
    assert_eq!(store.history(&thread(), None, 99).await.unwrap(), before);
    assert_eq!(store.prune(&thread(), 3).await.unwrap(), 0);
    pen.write(&[("items", Some(json!([1])), 0)]).await;
}

pub async fn a_fork_at_the_newest_checkpoint_takes_finished_branches_along<S: CheckpointStore>(
    store: Store<S>,
) {
    let mut pen = Pen::new(&*store, "t").await;
    pen.write(&[("n", Some(json!(1)), 0)]).await;
    pen.write(&[("n", Some(json!(2)), 0)]).await;
    assert!(store.put_task_writes(&thread(), pen.epoch, &result("a"), vec![]).await.unwrap());
    let (at_head, before) = (ThreadId("at head".to_owned()), ThreadId("before".to_owned()));
    assert!(store.fork(&thread(), 2, &at_head).await.unwrap());
    assert!(store.fork(&thread(), 1, &before).await.unwrap());
    assert_eq!(store.open_epoch(&at_head, "test").await.unwrap().results, [result("a")]);
    assert!(store.open_epoch(&before, "test").await.unwrap().results.is_empty());
}

pub async fn a_copy_is_whole_and_apart<S: CheckpointStore>(store: Store<S>) {
    let mut pen = Pen::new(&*store, "t").await;
    for n in 0..60 {
        let items: Vec<i32> = (0..=n).collect();
        pen.write(&[("items", Some(json!(items)), n as usize)]).await;
    }
    store.append_events(&thread(), pen.epoch, vec![event("A")]).await.unwrap();
    let to = ThreadId("copy".to_owned());
    assert!(store.copy(&thread(), &to).await.unwrap());
    assert!(!store.copy(&thread(), &to).await.unwrap(), "it exists");
    assert!(!store.copy(&ThreadId("nobody".to_owned()), &to).await.unwrap());
    let values = |states: Vec<Arc<Checkpoint>>| {
        states.iter().map(|state| (state.seq, state.values())).collect::<Vec<_>>()
    };
    let (source, copy) = (
        store.history(&thread(), None, 99).await.unwrap(),
        store.history(&to, None, 99).await.unwrap(),
    );
    assert!(copy.iter().all(|state| state.thread == to));
    assert_eq!(values(source), values(copy));
    assert!(store.events(&to, 0, 9).await.unwrap().is_empty());
    store.delete(&thread()).await.unwrap();
    assert_eq!(store.head(&to).await.unwrap().unwrap().seq, 60);
}

pub async fn pruning_leaves_an_open_run_what_it_may_be_rolled_back_to<S: CheckpointStore>(
    store: Store<S>,
) {
    let mut pen = Pen::new(&*store, "t").await;
    pen.write(&[]).await;
    pen.state.status = Status::Done;
    pen.write(&[("n", Some(json!("before")), 0)]).await;
    pen.state.status = Status::Running;
    let id = RunId("the next".to_owned());
    pen.state.run = Arc::new(RunInfo { id, parent_seq: 2, ..(*pen.state.run).clone() });
    for n in 0..3 {
        pen.write(&[("n", Some(json!(n)), 0)]).await;
    }
    assert_eq!(store.prune(&thread(), 1).await.unwrap(), 1);
    let back = store.state_at(&thread(), 2).await.unwrap().unwrap();
    assert_eq!(back.channels.get("n").unwrap().value.as_deref(), Some(&json!("before")));
    pen.state.status = Status::Done;
    pen.write(&[]).await;
    assert_eq!(store.prune(&thread(), 1).await.unwrap(), 4);
}

/// A finished thread with `steps` checkpoints and as many events, changed last at `at`.
async fn finished(store: &dyn CheckpointStore, name: &str, steps: u64, at: u64) {
    let mut pen = Pen::new(store, name).await;
    for step in 1..=steps {
        pen.state.status = if step == steps { Status::Done } else { Status::Running };
        let mut commit = pen.next(&[("n", Some(json!(step)), 0)]);
        let last = Checkpoint { at: Millis(at), ..(*commit.checkpoint).clone() };
        commit.checkpoint = Arc::new(last);
        commit.events = vec![event("A")];
        assert_eq!(store.commit(commit).await.unwrap(), Committed::Committed);
    }
}

async fn names_left<S: CheckpointStore>(store: &Store<S>) -> Vec<String> {
    store.threads(99).await.unwrap().into_iter().map(|row| row.thread.0).collect()
}

pub async fn retention_forgets_finished_threads_by_number_and_age<S: CheckpointStore>(
    store: Store<S>,
) {
    for (n, name) in ["a", "b", "c", "d"].into_iter().enumerate() {
        finished(&*store, name, 2, 100 * (n as u64 + 1)).await;
    }
    let nothing = store.retain(&Retention::default()).await.unwrap();
    assert_eq!((nothing, names_left(&store).await.len()), (Forgotten::default(), 4));
    let by_number = Retention { threads_max: Some(3), ..Retention::default() };
    let gone = store.retain(&by_number).await.unwrap();
    assert_eq!(gone.threads, [ThreadId("a".to_owned())]);
    let by_age = Retention { finished_before: Some(Millis(300)), ..Retention::default() };
    let gone = store.retain(&by_age).await.unwrap();
    assert_eq!(gone.threads, [ThreadId("b".to_owned())]);
    assert_eq!(names_left(&store).await, ["d", "c"]);
}

pub async fn retention_shortens_what_it_keeps<S: CheckpointStore>(store: Store<S>) {
    finished(&*store, "t", 9, 100).await;
    let short = Retention { checkpoints_max: Some(2), events_max: Some(3), ..Retention::default() };
    let gone = store.retain(&short).await.unwrap();
    assert_eq!((gone.checkpoints, gone.events, gone.threads.len()), (7, 6, 0));
    let seqs: Vec<u64> =
        store.history(&thread(), None, 99).await.unwrap().iter().map(|state| state.seq).collect();
    assert_eq!(seqs, [9, 8]);
    let events: Vec<u64> =
        store.events(&thread(), 0, 99).await.unwrap().iter().map(|event| event.seq).collect();
    assert_eq!(events, [7, 8, 9]);
    assert_eq!(store.retain(&short).await.unwrap(), Forgotten::default());
    let epoch = store.open_epoch(&thread(), "test").await.unwrap().epoch;
    store.append_events(&thread(), epoch, vec![event("B")]).await.unwrap();
    assert_eq!(store.events(&thread(), 9, 9).await.unwrap()[0].seq, 10);
}

pub async fn retention_leaves_threads_with_something_to_do_alone<S: CheckpointStore>(
    store: Store<S>,
) {
    finished(&*store, "posted", 3, 10).await;
    store.inbox_push(&ThreadId("posted".to_owned()), &letter("a"), Millis(11), None).await.unwrap();
    let mut running = Pen::new(&*store, "running").await;
    running.write(&[]).await;
    running.write(&[]).await;
    let all = Retention {
        checkpoints_max: Some(1),
        events_max: Some(0),
        threads_max: Some(0),
        finished_before: Some(Millis(u64::MAX)),
        ..Retention::default()
    };
    assert_eq!(store.retain(&all).await.unwrap(), Forgotten::default());
    assert_eq!(names_left(&store).await.len(), 2);
    assert_eq!(store.history(&ThreadId("posted".to_owned()), None, 9).await.unwrap().len(), 3);
}

pub async fn a_deleted_thread_is_gone_and_its_owner_fenced<S: CheckpointStore>(store: Store<S>) {
    let mut pen = Pen::new(&*store, "t").await;
    pen.write(&[("n", Some(json!(1)), 0)]).await;
    store.inbox_push(&thread(), &letter("a"), Millis(1), None).await.unwrap();
    store.delete(&thread()).await.unwrap();
    assert!(store.threads(9).await.unwrap().is_empty());
    assert_eq!(store.head(&thread()).await.unwrap(), None);
    assert!(store.inbox(&thread()).await.unwrap().is_empty());
    let commit = pen.next(&[]);
    assert_eq!(store.commit(commit).await.unwrap(), Committed::Fenced);
    let mut again = Pen::new(&*store, "t").await;
    again.write(&[("n", Some(json!(2)), 0)]).await;
}
