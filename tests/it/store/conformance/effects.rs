//! How long effects and remembered answers are kept: with their thread, and no longer than somebody can ask for them.

use perf_agent::base::{EffectKey, Millis, ThreadId};
use perf_agent::runtime::{Begun, CheckpointStore, Retention, Status};
use serde_json::json;

use crate::store::pen::{Pen, Store, letter, thread};

fn key(name: &str) -> EffectKey {
    EffectKey(name.to_owned())
}

/// A thread that stands at `status` after an effect of its own name, done.
async fn stands<'a>(store: &'a dyn CheckpointStore, name: &str, status: Status) -> Pen<'a> {
    let mut pen = Pen::new(store, name).await;
    let id = pen.state.thread.clone();
    store.effect_begin(&id, pen.epoch, &key(name), "at_most_once").await.unwrap();
    store.effect_finish(&key(name), &json!(name), None).await.unwrap();
    for _ in 0..3 {
        pen.write(&[("n", Some(json!(1)), 0)]).await;
    }
    pen.state.status = status;
    pen.write(&[]).await;
    pen
}

/// What the ledger knows of `name`, asked on a thread that is there for that alone.
async fn known<S: CheckpointStore>(store: &Store<S>, name: &str) -> Begun {
    let asker = Pen::new(&**store, "asker").await;
    let begun =
        store.effect_begin(&asker.state.thread, asker.epoch, &key(name), "probe").await.unwrap();
    if begun == Begun::Fresh {
        store.delete(&asker.state.thread).await.unwrap();
    }
    begun
}

pub async fn effects_go_with_their_thread_and_those_of_others_stay<S: CheckpointStore>(
    store: Store<S>,
) {
    stands(&*store, "t", Status::Running).await;
    stands(&*store, "u", Status::Done).await;
    store.delete(&thread()).await.unwrap();
    assert_eq!(known(&store, "t").await, Begun::Fresh);
    assert_eq!(known(&store, "u").await, Begun::Done(json!("u")));
    let all = Retention { threads_max: Some(0), ..Retention::default() };
    assert_eq!(store.retain(&all).await.unwrap().threads, [ThreadId("u".to_owned())]);
    assert_eq!(known(&store, "u").await, Begun::Fresh);
}

pub async fn an_effect_that_ends_after_its_thread_was_forgotten_leaves_nothing<
    S: CheckpointStore,
>(
    store: Store<S>,
) {
    let pen = Pen::new(&*store, "t").await;
    store.effect_begin(&thread(), pen.epoch, &key("k"), "probe").await.unwrap();
    store.delete(&thread()).await.unwrap();
    store.effect_finish(&key("k"), &json!("late"), None).await.unwrap();
    assert_eq!(known(&store, "k").await, Begun::Fresh);
}

pub async fn retention_keeps_the_effects_of_every_run_that_can_go_on<S: CheckpointStore>(
    store: Store<S>,
) {
    let open = [Status::Running, Status::Waiting, Status::Interrupted, Status::Error];
    let over = [Status::Done, Status::Cancelled];
    for status in open.into_iter().chain(over) {
        stands(&*store, status.name(), status).await;
    }
    stands(&*store, "posted", Status::Done).await;
    store.inbox_push(&ThreadId("posted".to_owned()), &letter("a"), Millis(1), None).await.unwrap();
    let short = Retention { checkpoints_max: Some(1), ..Retention::default() };
    let gone = store.retain(&short).await.unwrap();
    assert_eq!((gone.threads.len(), gone.effects), (0, over.len() as u64));
    for name in open.map(Status::name).into_iter().chain(["posted"]) {
        assert_eq!(known(&store, name).await, Begun::Done(json!(name)), "{name}");
    }
    for name in over.map(Status::name) {
        assert_eq!(known(&store, name).await, Begun::Fresh, "{name}");
    }
}

pub async fn a_remembered_answer_goes_when_its_time_is_over<S: CheckpointStore>(store: Store<S>) {
    let mut pen = Pen::new(&*store, "t").await;
    pen.write(&[]).await;
    for (name, until) in [("soon", 15), ("later", 1_000)] {
        store.effect_begin(&thread(), pen.epoch, &key(name), "idempotent").await.unwrap();
        store.effect_finish(&key(name), &json!(name), Some(Millis(until))).await.unwrap();
    }
    assert_eq!(store.retain(&Retention::default()).await.unwrap().effects, 0);
    // The thread's own clock passes it.
    pen.write(&[]).await;
    assert_eq!(store.retain(&Retention::default()).await.unwrap().effects, 1);
    assert_eq!(known(&store, "later").await, Begun::Done(json!("later")));
    let at = |moment| Retention { answers_until: Some(Millis(moment)), ..Retention::default() };
    assert_eq!(store.retain(&at(999)).await.unwrap().effects, 0);
    assert_eq!(store.retain(&at(1_000)).await.unwrap().effects, 1);
    assert_eq!(known(&store, "later").await, Begun::Fresh);
}

pub async fn retention_spares_threads_that_somebody_counts_on<S: CheckpointStore>(store: Store<S>) {
    stands(&*store, "t", Status::Done).await;
    stands(&*store, "u", Status::Done).await;
    let spared = [thread()].into();
    let rule = Retention { threads_max: Some(0), spared, ..Retention::default() };
    assert_eq!(store.retain(&rule).await.unwrap().threads, [ThreadId("u".to_owned())]);
    assert_eq!(store.head(&thread()).await.unwrap().map(|head| head.seq), Some(4));
}

pub async fn ids_of_threads_come_in_pages_that_changes_do_not_shift<S: CheckpointStore>(
    store: Store<S>,
) {
    for name in ["d", "b", "a", "c"] {
        stands(&*store, name, Status::Done).await;
    }
    store.inbox_push(&ThreadId("e".to_owned()), &letter("a"), Millis(1), None).await.unwrap();
    store.delete(&ThreadId("d".to_owned())).await.unwrap();
    let (mut ids, mut pages) = (Vec::new(), 0);
    loop {
        let page = store.thread_ids(ids.last(), 2).await.unwrap();
        if page.is_empty() {
            break;
        }
        pages += 1;
        ids.extend(page);
        // The newest change is the first of every listing by age.
        store.inbox_push(&ids[0], &letter("a"), Millis(99), None).await.unwrap();
    }
    let names: Vec<&str> = ids.iter().map(ThreadId::as_str).collect();
    assert_eq!((names.as_slice(), pages), (["a", "b", "c", "e"].as_slice(), 2));
}
