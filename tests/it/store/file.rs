//! The file from outside: checked, counted, compacted, copied, brought up to date.

use std::path::{Path, PathBuf};

use perf_agent::base::{Coded, Documents, ThreadId};
use perf_agent::runtime::{CheckpointStore, Status};
use perf_agent::store::{SqliteStore, StoreFile};
use serde_json::json;

use super::pen::{Pen, event, letter, result, thread};
use super::saver::support::{channels, config, get, put, values};

/// A store with something in every table.
async fn filled(folder: &Path) -> PathBuf {
    let path = folder.join("threads.db");
    let store = SqliteStore::open(&path).unwrap();
    store.put_graph("h", "a graph").await.unwrap();
    let mut pen = Pen::new(&store, "t").await;
    for n in 0..70 {
        let items: Vec<String> = (0..=n).map(|n| format!("item {n} ").repeat(20)).collect();
        let mut commit = pen.next(&[("items", Some(json!(items)), n)]);
        commit.events = vec![event("A"), event("B")];
        store.commit(commit).await.unwrap();
    }
    store.put_task_writes(&thread(), pen.epoch, &result("a"), vec![]).await.unwrap();
    store.inbox_push(&thread(), &letter("a"), pen.state.at, Some("key")).await.unwrap();
    let key = perf_agent::base::EffectKey("k".to_owned());
    store.effect_begin(&thread(), pen.epoch, &key, "probe").await.unwrap();
    let mut done = Pen::new(&store, "done").await;
    done.state.status = Status::Done;
    done.write(&[("n", Some(json!(1)), 0)]).await;
    store.put("notes", "a", None, json!("text ".repeat(100))).await.unwrap();
    let mut at = config("saved");
    for n in 1..60 {
        let text: Vec<String> = (0..n).map(|n| format!("message {n} ").repeat(30)).collect();
        at = put(&store, &at, channels(&[("messages", n, Some(json!(text)))])).await;
    }
    path
}

fn file(path: &Path) -> StoreFile {
    StoreFile::at(&format!("sqlite:{}", path.display())).unwrap()
}

#[tokio::test]
async fn a_sound_file_is_found_sound_and_counted_also_while_it_is_open() {
    let folder = tempfile::tempdir().unwrap();
    let path = filled(folder.path()).await;
    let _open = SqliteStore::open(&path).unwrap();
    let report = file(&path).check().unwrap();
    assert_eq!(report.damages, []);
    assert!(report.rows > 70 + 70 + 59, "{}", report.rows);
    let stats = file(&path).stats().unwrap();
    assert_eq!((stats.checkpoints, stats.events, stats.letters), (71, 140, 1));
    assert_eq!((stats.effects, stats.effects_in_doubt, stats.saved_checkpoints), (1, 1, 59));
    assert_eq!((stats.threads["running"], stats.threads["done"]), (1, 1));
    assert_eq!(stats.documents["notes"], 1);
    let tables: u64 = stats.tables.iter().map(|size| size.bytes).sum();
    assert!(tables > 0 && tables <= stats.file_bytes + stats.log_bytes);
}

#[tokio::test]
async fn a_backup_of_a_store_in_use_opens_and_has_everything() {
    let folder = tempfile::tempdir().unwrap();
    let path = filled(folder.path()).await;
    let store = SqliteStore::open(&path).unwrap();
    let copy = folder.path().join("copy.db");
    let bytes = file(&path).backup(&copy).unwrap();
    assert_eq!(bytes, std::fs::metadata(&copy).unwrap().len());
    let refused = file(&path).backup(&copy).unwrap_err();
    assert_eq!(refused.code(), "store.exists");
    // What comes after the copy is not in it.
    store.put("notes", "b", None, json!(1)).await.unwrap();
    let copy = SqliteStore::open(&copy).unwrap();
    assert_eq!(copy.get("notes", "b").await.unwrap(), None);
    let (of, from) =
        (copy.history(&thread(), None, 99).await, store.history(&thread(), None, 99).await);
    assert_eq!(of.unwrap(), from.unwrap());
    assert_eq!(copy.inbox(&thread()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn vacuum_gives_back_what_was_forgotten_and_is_refused_to_others() {
    let folder = tempfile::tempdir().unwrap();
    let path = filled(folder.path()).await;
    {
        let store = SqliteStore::open(&path).unwrap();
        assert_eq!(file(&path).vacuum().unwrap_err().code(), "store.locked");
        store.delete(&thread()).await.unwrap();
        perf_agent::store::CheckpointSaver::forget_threads(&store, &["saved".to_owned()])
            .await
            .unwrap();
    }
    let compacted = file(&path).vacuum().unwrap();
    // An empty store has a page for each table and index.
    assert!(compacted.after_bytes + 64 * 1024 < compacted.before_bytes, "{compacted:?}");
    assert_eq!(file(&path).check().unwrap().damages, []);
    let store = SqliteStore::open(&path).unwrap();
    assert!(store.head(&ThreadId("done".to_owned())).await.unwrap().is_some());
}

#[tokio::test]
async fn a_file_of_an_older_schema_is_brought_up_to_date_and_keeps_everything() {
    let folder = tempfile::tempdir().unwrap();
    let path = filled(folder.path()).await;
    let before = {
        let store = SqliteStore::open(&path).unwrap();
        store.history(&thread(), None, 99).await.unwrap()
    };
    // As the first version left it: without what the later ones added.
    let old = rusqlite::Connection::open(&path).unwrap();
    for table in ["scopes", "checkpoints", "values", "refs", "writes"] {
        old.execute_batch(&format!("DROP TABLE saved_{table}")).unwrap();
    }
    old.execute_batch(
        "DROP INDEX effects_thread; DROP INDEX effects_until;
         ALTER TABLE effects DROP COLUMN thread; ALTER TABLE effects DROP COLUMN until;
         PRAGMA user_version = 1",
    )
    .unwrap();
    drop(old);
    assert_eq!(file(&path).check().unwrap().damages, [], "an old file can be checked as it is");
    assert_eq!(file(&path).stats().unwrap().schema, 1);
    let store = SqliteStore::open(&path).unwrap();
    assert_eq!(file(&path).stats().unwrap().schema, 3);
    assert_eq!(store.history(&thread(), None, 99).await.unwrap(), before);
    let at = put(&store, &config("new"), channels(&[("n", 1, Some(json!(1)))])).await;
    assert_eq!(values(&get(&store, &at).await.unwrap()), json!({ "n": 1 }));
}

#[tokio::test]
async fn a_file_of_a_newer_schema_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = filled(folder.path()).await;
    rusqlite::Connection::open(&path).unwrap().execute_batch("PRAGMA user_version = 99").unwrap();
    let before = std::fs::read(&path).unwrap();
    assert_eq!(SqliteStore::open(&path).err().unwrap().code(), "store.newer_schema");
    assert_eq!(file(&path).check().unwrap_err().code(), "store.newer_schema");
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn what_is_no_file_of_ours_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(StoreFile::at("memory:").unwrap_err().code(), "store.no_file");
    assert_eq!(StoreFile::at("postgres://x").unwrap_err().code(), "store.url");
    let missing = format!("sqlite:{}", folder.path().join("none.db").display());
    assert_eq!(StoreFile::at(&missing).unwrap_err().code(), "store.io");
    let other = folder.path().join("other.db");
    rusqlite::Connection::open(&other).unwrap().execute_batch("CREATE TABLE a (b)").unwrap();
    assert_eq!(file(&other).check().unwrap_err().code(), "store.corrupt");
}
