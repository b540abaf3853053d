//! Damage anywhere in the file is noticed, and what is damaged is never served: not as another state, and not as none.

use std::path::Path;
use std::sync::Arc;

use perf_agent::base::{Coded, stable_hash};
use perf_agent::runtime::{Checkpoint, CheckpointStore};
use perf_agent::store::{SqliteStore, StoreFile};
use serde_json::json;

use super::pen::{Pen, event, thread};

const PAGE: usize = 8_192;

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
    states
}

/// Whether a damaged file is refused, serves the truth, or says that it cannot. Anything else panics.
async fn noticed(path: &Path, states: &[Arc<Checkpoint>]) -> bool {
    let store = match SqliteStore::open(path) {
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
    noticed
}

#[tokio::test]
async fn a_page_that_is_torn_or_lost_anywhere_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("threads.db");
    let states = fill(&path).await;
    let sound = std::fs::read(&path).unwrap();
    assert!(sound.len() / PAGE > 15, "{} pages", sound.len() / PAGE);
    assert!(!noticed(&path, &states).await, "a sound file is served");
    for page in 1..sound.len() / PAGE {
        let place = page * PAGE;
        let torn = |byte: &mut u8| *byte ^= 0x55;
        let lost = |byte: &mut u8| *byte = 0;
        for (kind, damage) in [("torn", &torn as &dyn Fn(&mut u8)), ("lost", &lost)] {
            let mut damaged = sound.clone();
            let half = if kind == "torn" { PAGE / 2 } else { 0 };
            damaged[place + half..place + PAGE].iter_mut().for_each(damage);
            std::fs::write(&path, &damaged).unwrap();
            let found = noticed(&path, &states).await;
            let url = format!("sqlite:{}", path.display());
            let report = StoreFile::at(&url).unwrap().check();
            let reported = report.map_or(true, |report| !report.damages.is_empty());
            // Half a page that holds nothing yet may be torn without any harm.
            assert!(
                reported || !found,
                "page {page} is {kind}: served as damaged, checked as sound"
            );
            assert!(found || kind == "torn", "page {page} is {kind} and nobody noticed");
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
        std::fs::write(&path, &damaged).unwrap();
        noticed_of += usize::from(noticed(&path, &states).await);
    }
    assert!(noticed_of > 0);
}
