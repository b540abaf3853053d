//! What a file no longer needs goes when it is compacted, and what it still needs stays.

use std::path::{Path, PathBuf};

use perf_agent::base::{EffectKey, Millis, RunId, ThreadId};
use perf_agent::runtime::{Begun, CheckpointStore, Letter, Pauses, Retention, RunInfo, Status};
use perf_agent::store::{SqliteStore, StoreFile};
use serde_json::json;

use super::pen::{Pen, thread};

fn file(path: &Path) -> StoreFile {
    StoreFile::at(&format!("sqlite:{}", path.display())).unwrap()
}

fn key(name: &str) -> EffectKey {
    EffectKey(name.to_owned())
}

/// Threads `open` and `done`, each with an effect of its name and a graph of its own.
async fn two(folder: &Path) -> PathBuf {
    let path = folder.join("threads.db");
    let store = SqliteStore::open(&path).unwrap();
    for (name, status) in [("open", Status::Interrupted), ("done", Status::Done)] {
        let mut pen = Pen::new(&store, name).await;
        let id = pen.state.thread.clone();
        pen.state.run = std::sync::Arc::new(RunInfo {
            graph_hash: format!("graph of {name}"),
            ..(*pen.state.run).clone()
        });
        store.put_graph(&format!("graph of {name}"), "text").await.unwrap();
        store.effect_begin(&id, pen.epoch, &key(name), "at_most_once").await.unwrap();
        pen.state.status = status;
        pen.write(&[("n", Some(json!(1)), 0)]).await;
    }
    path
}

/// The file as the second version left it.
fn as_of_before(path: &Path) {
    let old = rusqlite::Connection::open(path).unwrap();
    old.execute_batch(
        "DROP INDEX effects_thread; DROP INDEX effects_until;
         ALTER TABLE effects DROP COLUMN thread; ALTER TABLE effects DROP COLUMN until;
         PRAGMA user_version = 2;",
    )
    .unwrap();
}

#[tokio::test]
async fn a_graph_goes_when_no_run_is_pinned_to_it_and_none_waits_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = two(folder.path()).await;
    {
        let store = SqliteStore::open(&path).unwrap();
        for hash in ["queued", "nobody's"] {
            store.put_graph(hash, "text").await.unwrap();
        }
        let start = Letter::Start {
            run: RunId("r".to_owned()),
            graph: "g".to_owned(),
            graph_hash: "queued".to_owned(),
            input: Default::default(),
            context: Default::default(),
            rollback: false,
            writes: Default::default(),
            from: None,
            supersteps_max: None,
            pauses: Pauses::default(),
        };
        store.inbox_push(&ThreadId("open".to_owned()), &start, Millis(9), None).await.unwrap();
        store.delete(&ThreadId("done".to_owned())).await.unwrap();
    }
    file(&path).vacuum().unwrap();
    let store = SqliteStore::open(&path).unwrap();
    for (hash, stays) in
        [("graph of open", true), ("queued", true), ("graph of done", false), ("nobody's", false)]
    {
        assert_eq!(store.graph(hash).await.unwrap().is_some(), stays, "{hash}");
    }
}

#[tokio::test]
async fn a_forgotten_thread_leaves_no_trace_after_a_vacuum() {
    let folder = tempfile::tempdir().unwrap();
    let path = two(folder.path()).await;
    {
        let store = SqliteStore::open(&path).unwrap();
        store.delete(&ThreadId("done".to_owned())).await.unwrap();
    }
    assert_eq!(file(&path).stats().unwrap().effects, 1, "its effect went at once");
    file(&path).vacuum().unwrap();
    let rows = rusqlite::Connection::open(&path).unwrap();
    let names: Vec<String> = rows
        .prepare("SELECT thread FROM threads")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(names, ["open"]);
    assert_eq!(file(&path).check().unwrap().damages, []);
}

#[tokio::test]
async fn effects_of_an_older_file_stay_while_any_run_may_ask_for_them_and_go_then() {
    let folder = tempfile::tempdir().unwrap();
    let path = two(folder.path()).await;
    as_of_before(&path);
    assert_eq!(file(&path).check().unwrap().damages, [], "an old file can be checked as it is");
    file(&path).vacuum().unwrap();
    assert_eq!(file(&path).stats().unwrap().schema, 3);
    assert_eq!(file(&path).stats().unwrap().effects, 2, "`open` may go on");
    let open = ThreadId("open".to_owned());
    {
        let store = SqliteStore::open(&path).unwrap();
        let head = store.head(&open).await.unwrap().unwrap();
        let epoch = store.open_epoch(&open, "test").await.unwrap().epoch;
        let begun = store.effect_begin(&open, epoch, &key("open"), "at_most_once").await.unwrap();
        assert_eq!(begun, Begun::InDoubt, "what was begun before is known to have been");
        let mut pen = Pen { store: &store, epoch, state: (*head).clone() };
        pen.state.status = Status::Done;
        pen.write(&[]).await;
    }
    file(&path).vacuum().unwrap();
    assert_eq!(file(&path).stats().unwrap().effects, 1, "that of `open` has its thread now");
    let store = SqliteStore::open(&path).unwrap();
    store.delete(&open).await.unwrap();
    assert_eq!(file(&path).stats().unwrap().effects, 0);
}

#[tokio::test]
async fn retention_bounds_what_long_threads_leave_in_the_ledger() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("threads.db");
    let store = SqliteStore::open(&path).unwrap();
    let mut pen = Pen::new(&store, "t").await;
    for n in 0..20 {
        let name = format!("reply {n}");
        store.effect_begin(&thread(), pen.epoch, &key(&name), "idempotent").await.unwrap();
        store.effect_finish(&key(&name), &json!("word ".repeat(200)), None).await.unwrap();
        pen.state.status = Status::Done;
        pen.write(&[]).await;
    }
    let short = Retention { events_max: Some(1), ..Retention::default() };
    assert_eq!(store.retain(&short).await.unwrap().effects, 20);
    assert_eq!(file(&path).stats().unwrap().effects, 0);
}
