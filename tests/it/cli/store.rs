//! `store`: checked, counted, compacted, copied from the command line.

use super::support::{run, run_json};

const WATCH: [&str; 4] = ["run", "watch", "--input", r#"{"goal": "p95 TTFT under 300 ms"}"#];

#[test]
fn a_store_is_checked_counted_compacted_and_copied() {
    let folder = tempfile::tempdir().unwrap();
    let ended = run(folder.path(), &WATCH);
    assert_eq!(ended.code, 0, "{}{}", ended.out, ended.err);
    let (code, report) = run_json(folder.path(), &["store", "check"]);
    assert_eq!((code, report["damages"].as_array().map(Vec::len)), (0, Some(0)), "{report}");
    let (code, stats) = run_json(folder.path(), &["store", "stats"]);
    assert_eq!((code, &stats["threads"]["done"]), (0, &1.into()), "{stats}");
    let (code, copy) = run_json(folder.path(), &["store", "backup", "copy.db"]);
    assert_eq!((code, &copy["file"]), (0, &"copy.db".into()), "{copy}");
    let (code, refused) = run_json(folder.path(), &["store", "backup", "copy.db"]);
    assert_eq!((code, &refused["error"]["code"]), (1, &"store.exists".into()), "{refused}");
    let (code, listed) = run_json(folder.path(), &["threads", "list", "--store", "sqlite:copy.db"]);
    assert_eq!((code, listed.as_array().map(Vec::len)), (0, Some(1)), "{listed}");
    let ended = run(folder.path(), &["store", "vacuum"]);
    assert_eq!((ended.code, ended.out.contains(" before, ")), (0, true), "{}", ended.out);
    let ended = run(folder.path(), &["store", "check"]);
    assert!(ended.out.contains("all as they were written"), "{}", ended.out);
}

#[test]
fn retention_forgets_finished_runs_and_their_records() {
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..3 {
        assert_eq!(run(folder.path(), &WATCH).code, 0);
    }
    std::fs::write(
        folder.path().join("keep.yaml"),
        "retention: { threads_max: 1, checkpoints_max: 1 }\n",
    )
    .unwrap();
    let (code, gone) = run_json(folder.path(), &["store", "vacuum", "--config", "keep.yaml"]);
    assert_eq!((code, &gone["forgotten"]["threads"]), (0, &2.into()), "{gone}");
    let (_, stats) = run_json(folder.path(), &["store", "stats"]);
    assert_eq!((&stats["checkpoints"], &stats["documents"]["started"]), (&1.into(), &1.into()));
    let (_, listed) = run_json(folder.path(), &["threads", "list"]);
    let thread = listed[0]["thread"].as_str().unwrap();
    let (code, shown) = run_json(folder.path(), &["threads", "show", thread]);
    assert_eq!(code, 0, "{shown}");
}

#[test]
fn damage_is_told_and_fails_the_command() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), &WATCH);
    let path = folder.path().join("perf-agent.db");
    let mut bytes = std::fs::read(&path).unwrap();
    // Rows fill a page from its end.
    for page in bytes.chunks_mut(8_192).skip(1) {
        page[8_000..8_100].iter_mut().for_each(|byte| *byte ^= 0x55);
    }
    std::fs::write(&path, bytes).unwrap();
    let (code, report) = run_json(folder.path(), &["store", "check"]);
    assert_eq!(code, 1, "{report}");
    assert!(!report["damages"].as_array().unwrap().is_empty(), "{report}");
    let (code, refused) = run_json(folder.path(), &["store", "backup", "copy.db"]);
    assert_eq!((code, &refused["error"]["code"]), (1, &"store.corrupt".into()), "{refused}");
    assert!(!folder.path().join("copy.db").exists());
}

#[test]
fn a_store_without_a_file_has_nothing_to_check() {
    let folder = tempfile::tempdir().unwrap();
    let (code, refused) = run_json(folder.path(), &["store", "check", "--store", "memory:"]);
    assert_eq!((code, &refused["error"]["code"]), (1, &"store.no_file".into()), "{refused}");
}
