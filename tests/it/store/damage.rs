//! Damage anywhere in the file is noticed, and what is damaged is never served: not as another state, and not as none.

use std::path::Path;
use std::sync::Arc;

use perf_agent::base::{Coded, EffectKey, Problem, stable_hash};
use perf_agent::runtime::{Begun, Checkpoint, CheckpointStore};
use perf_agent::store::{Options, SqliteStore, StoreFile};
use serde_json::json;

use super::pen::{Pen, event, letter, result, thread};

/// Effects of the thread, on several pages.
const EFFECTS: usize = 120;

const PAGE: usize = 4_096;

/// As a file is opened that is too large to be checked as a whole.
const LARGE: Options = Options { bytes_max: None, check_whole_bytes_max: Some(0) };

/// A thread with deltas, whole values and a journal, over some dozens of pages.
async fn fill(path: &Path) -> Vec<Arc<Checkpoint>> {
    let store = SqliteStore::open(path).unwrap();
    let mut pen = Pen::new(&store, "t").await;
    let text = |n: usize| stable_hash(&[&n.to_string()]).repeat(3);
    let mut states = Vec::new();
    for n in 0..60 {
        let items: Vec<String> = (0..=n).map(text).collect();
        let mut commit = pen.next(&[("items", Some(json!(items)), n), ("n", Some(json!(n)), 0)]);
        commit.events = vec![event("A")];
        states.push(commit.checkpoint.clone());
        store.commit(commit).await.unwrap();
    }
    store.put_task_writes(&thread(), pen.epoch, &result("a"), vec![]).await.unwrap();
    store.inbox_push(&thread(), &letter("a"), pen.state.at, Some("key")).await.unwrap();
    for n in 0..EFFECTS {
        store.effect_begin(&thread(), pen.epoch, &effect(n), "at_most_once").await.unwrap();
        store.effect_finish(&effect(n), &json!(text(n)), None).await.unwrap();
    }
    states
}

/// Whether a damaged file is refused, serves the truth, or says that it cannot. Anything else panics.
async fn noticed(path: &Path, states: &[Arc<Checkpoint>], options: Options) -> bool {
    let store = match SqliteStore::open_with(path, options) {
        Ok(store) => store,
        Err(error) => {
            assert_eq!(error.code(), "store.corrupt");
            return true;
        }
    };
    let mut noticed = false;
    match store.head(&thread()).await {
        Ok(head) => assert_eq!(head.as_ref(), states.last()),
        Err(problem) => {
            assert_eq!(problem.code, "store.corrupt", "{problem}");
            noticed = true;
        }
    }
    match store.history(&thread(), None, 99).await {
        Ok(history) => assert!(history.iter().rev().eq(states)),
        Err(problem) => {
            assert_eq!(problem.code, "store.corrupt", "{problem}");
            noticed = true;
        }
    }
    for state in states {
        match store.state_at(&thread(), state.seq).await {
            Ok(found) => assert_eq!(found.as_ref(), Some(state)),
            Err(problem) => {
                assert_eq!(problem.code, "store.corrupt", "{problem}");
                noticed = true;
            }
        }
    }
    match store.events(&thread(), 0, 99).await {
        Ok(events) => assert_eq!(events.len(), states.len()),
        Err(problem) => {
            assert_eq!(problem.code, "store.corrupt", "{problem}");
            noticed = true;
        }
    }
    noticed |= !what_is_open_is_there(&store).await;
    noticed
}

/// Whether letters, results and effects are read as they were written; anything but damage that is told panics.
async fn what_is_open_is_there(store: &SqliteStore) -> bool {
    let told = |problem: Problem| {
        assert_eq!(problem.code, "store.corrupt", "{problem}");
        false
    };
    let mut whole = store.inbox(&thread()).await.map_or_else(told, |letters| {
        assert_eq!(letters.len(), 1, "the letter");
        true
    });
    whole &= store.results(&thread()).await.map_or_else(told, |results| {
        assert_eq!(results, [result("a")]);
        true
    });
    let epoch = match store.open_epoch(&thread(), "test").await {
        Ok(opened) => opened.epoch,
        Err(problem) => return told(problem),
    };
    for n in 0..EFFECTS {
        let begun = store.effect_begin(&thread(), epoch, &effect(n), "at_most_once").await;
        whole &= begun.map_or_else(told, |begun| {
            assert!(matches!(begun, Begun::Done(_)), "effect {n} is {begun:?}");
            true
        });
    }
    whole
}

/// Puts a file in place of another, whose log goes with it.
fn put(path: &Path, bytes: &[u8]) {
    for log in ["-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(log);
        let _ = std::fs::remove_file(name);
    }
    std::fs::write(path, bytes).unwrap();
}

fn effect(n: usize) -> EffectKey {
    EffectKey(stable_hash(&["effect", &n.to_string()]))
}

#[tokio::test]
async fn a_page_that_is_torn_or_lost_anywhere_is_noticed() {
    every_page(Options::default()).await;
}

#[tokio::test]
async fn a_page_that_is_torn_or_lost_is_noticed_in_a_file_too_large_to_be_checked_as_a_whole() {
    every_page(LARGE).await;
}

/// Damages every page in turn.
async fn every_page(options: Options) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("threads.db");
    let states = fill(&path).await;
    let sound = std::fs::read(&path).unwrap();
    assert!(sound.len() / PAGE > 15, "{} pages", sound.len() / PAGE);
    assert!(!noticed(&path, &states, options).await, "a sound file is served");
    for page in 1..sound.len() / PAGE {
        let place = page * PAGE;
        let torn = |byte: &mut u8| *byte ^= 0x55;
        let lost = |byte: &mut u8| *byte = 0;
        for (kind, damage) in [("torn", &torn as &dyn Fn(&mut u8)), ("lost", &lost)] {
            let mut damaged = sound.clone();
            let half = if kind == "torn" { PAGE / 2 } else { 0 };
            damaged[place + half..place + PAGE].iter_mut().for_each(damage);
            put(&path, &damaged);
            let found = noticed(&path, &states, options).await;
            let url = format!("sqlite:{}", path.display());
            let report = StoreFile::at(&url).unwrap().check();
            let reported = report.map_or(true, |report| !report.damages.is_empty());
            // Half a page that holds nothing yet may be torn without any harm.
            assert!(
                reported || !found,
                "page {page} is {kind}: served as damaged, checked as sound"
            );
            // In a large file, what is not looked at may be lost unnoticed; what is served never is.
            let whole = options.check_whole_bytes_max.is_none();
            assert!(found || kind == "torn" || !whole, "page {page} is {kind}: nobody noticed");
        }
    }
}

#[tokio::test]
async fn bits_that_flip_are_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("threads.db");
    let states = fill(&path).await;
    let sound = std::fs::read(&path).unwrap();
    let mut noticed_of = 0;
    for place in (PAGE..sound.len()).step_by(4_099) {
        let mut damaged = sound.clone();
        damaged[place] ^= 0x04;
        put(&path, &damaged);
        noticed_of += usize::from(noticed(&path, &states, Options::default()).await);
    }
    assert!(noticed_of > 0);
}
