//! What the file on disk must stand: a second process, damage, a full disk, a restart.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use perf_agent::base::{Coded, Documents, ThreadId};
use perf_agent::graph::Reducer;
use perf_agent::runtime::ThreadStatus;
use perf_agent::store::{self, Options, SqliteStore};
use serde_json::{Value, json};

use crate::runtime::support::{Crew, LeapClock, Rig, draw, list, wrote};

const HOLD: &str = "PERF_AGENT_HOLD_STORE";

#[test]
fn holder() {
    let Ok(path) = std::env::var(HOLD) else { return };
    let _store = SqliteStore::open(&path).unwrap();
    std::fs::write(format!("{path}.held"), "").unwrap();
    loop {
        std::thread::park();
    }
}

#[test]
fn a_second_process_is_refused_by_name_and_a_killed_one_does_not_block() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("threads.db");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["store::sqlite::holder", "--exact", "--nocapture"])
        .env(HOLD, &path)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    while !folder.path().join("threads.db.held").exists() {
        assert!(child.try_wait().unwrap().is_none(), "the child died");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    let refused = SqliteStore::open(&path).err().unwrap();
    assert_eq!(refused.code(), "store.locked");
    assert!(refused.to_string().contains(&child.id().to_string()), "{refused}");
    child.kill().unwrap();
    child.wait().unwrap();
    SqliteStore::open(&path).unwrap();
}

#[tokio::test]
async fn a_run_goes_on_after_a_restart_without_its_graph_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("threads.db");
    let crew = || {
        Crew::default().does("ask", |view, _| match &view.answer {
            None => Ok(crate::runtime::interrupts::question(json!({}))),
            Some(answer) => wrote([("items", json!([answer.value]))]),
        })
    };
    {
        let graph = draw("pinned")
            .channel("items", list(), Reducer::Append)
            .node("ask", Some("items"), &[])
            .done();
        let rig = Rig::on(Arc::new(SqliteStore::open(&path).unwrap()), LeapClock::at(1), crew());
        rig.run(&graph, Value::Null).await;
    }
    let rig = Rig::on(Arc::new(SqliteStore::open(&path).unwrap()), LeapClock::at(9), crew());
    rig.runtime.resume(&rig.thread, None, json!(4), "ada").await.unwrap();
    rig.rest().await;
    let state = rig.state().await;
    assert_eq!((state.status, &state.values["items"]), (ThreadStatus::Done, &json!([4])));
}

async fn fill(path: &Path) {
    let store = SqliteStore::open(path).unwrap();
    for n in 0..200 {
        let text = format!("{n} ").repeat(200);
        store.put("notes", &n.to_string(), None, json!(text)).await.unwrap();
    }
}

#[tokio::test]
async fn a_damaged_file_is_refused_or_its_damaged_rows_are_never_served() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("threads.db");
    fill(&path).await;
    let sound = std::fs::read(&path).unwrap();
    let mut noticed = 0;
    for place in (8_192..sound.len()).step_by(5_003) {
        let mut damaged = sound.clone();
        for byte in &mut damaged[place..(place + 40).min(sound.len())] {
            *byte ^= 0x55;
        }
        std::fs::write(&path, &damaged).unwrap();
        match SqliteStore::open(&path) {
            Err(error) => {
                assert_eq!(error.code(), "store.corrupt");
                noticed += 1;
            }
            Ok(store) => {
                for n in 0..200 {
                    match store.get("notes", &n.to_string()).await {
                        Ok(Some(note)) => {
                            assert_eq!(note.value, json!(format!("{n} ").repeat(200)));
                        }
                        Ok(None) => noticed += 1,
                        Err(problem) => {
                            assert_eq!(problem.code, "store.corrupt");
                            noticed += 1;
                        }
                    }
                }
            }
        }
    }
    assert!(noticed > 0);
}

#[test]
fn a_file_that_is_no_database_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("threads.db");
    std::fs::write(&path, "not a database, but long enough to be looked at ".repeat(40)).unwrap();
    assert_eq!(SqliteStore::open(&path).err().unwrap().code(), "store.corrupt");
}

#[tokio::test]
async fn a_full_disk_is_said_and_harms_nothing_that_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("threads.db");
    let options = Options { bytes_max: Some(400_000), ..Options::default() };
    let store = SqliteStore::open_with(&path, options).unwrap();
    let mut written = 0;
    let refused = loop {
        // Text that does not compress well.
        let text: String =
            (0..400).map(|n| perf_agent::base::stable_hash(&[&format!("{written} {n}")])).collect();
        match store.put("notes", &written.to_string(), None, json!(text)).await {
            Ok(_) => written += 1,
            Err(problem) => break problem,
        }
        assert!(written < 1_000);
    };
    assert_eq!(refused.code, "store.full");
    assert!(written > 5);
    for n in 0..written {
        assert!(store.get("notes", &n.to_string()).await.unwrap().is_some());
    }
    drop(store);
    let store = SqliteStore::open(&path).unwrap();
    store.put("notes", "after", None, json!(1)).await.unwrap();
}

#[tokio::test]
async fn a_long_thread_is_kept_as_deltas() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("threads.db");
    let graph = draw("chat")
        .channel("messages", json!({ "type": "array", "items": {} }), Reducer::Messages)
        .limits(|limits| (limits.supersteps, limits.visits_per_node) = (1_000, 1_000))
        .choice("turn", Some("messages"), &[("visits.turn < 200", Some(0)), ("", None)])
        .done();
    let crew = Crew::default().does("turn", |view, _| {
        let turn = view.visits["turn"];
        let text: String =
            (0..70).map(|n| perf_agent::base::stable_hash(&[&format!("{turn} {n}")])).collect();
        wrote([("messages", json!([{ "id": turn.to_string(), "text": text[..1_100] }]))])
    });
    let rig = Rig::on(Arc::new(SqliteStore::open(&path).unwrap()), LeapClock::at(1), crew);
    let state = rig.run(&graph, Value::Null).await;
    assert_eq!(state.values["messages"].as_array().unwrap().len(), 200);
    drop(rig);
    let bytes = std::fs::metadata(&path).unwrap().len();
    println!("200 turns of 1.1 kB: {} KiB", bytes / 1024);
    // 215 KiB of text that does not compress below half, kept once as state, once as journal, and whole at versions 50, 100 and 200.
    // Whole state per checkpoint would be 10 MiB and more.
    assert!(bytes <= 1 << 20, "{bytes} bytes");
}

#[tokio::test]
async fn a_url_names_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("threads.db").display());
    for url in [url.as_str(), "memory:"] {
        let opened = store::open(url).unwrap();
        let head = opened.checkpoints.head(&ThreadId("t".to_owned())).await.unwrap();
        assert_eq!(head, None);
        assert_eq!(opened.documents.get("a", "b").await.unwrap(), None);
    }
    for url in ["", "memory", "sqlite:", "postgres://x"] {
        assert_eq!(store::open(url).err().unwrap().code(), "store.url");
    }
}
