//! `threads signal`: a run that waits is woken from the command line.

use serde_json::json;

use super::support::{run, run_json};

const SIGNALLED: &str = "
schema: graph/v1
name: signalled
version: 1
state: { came: { type: object } }
output: [came]
nodes:
  hold: { wait: { signal: go }, writes: came }
edges: [start -> hold -> end]
";

#[test]
fn a_run_that_waits_for_a_signal_goes_on_with_the_value_that_was_typed() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("graphs")).unwrap();
    std::fs::write(folder.path().join("graphs/signalled.yaml"), SIGNALLED).unwrap();
    let told = run(folder.path(), &["run", "signalled", "--input", "{}", "--graphs", "graphs"]);
    let (_, listed) = run_json(folder.path(), &["threads", "list"]);
    let thread = listed[0]["thread"].as_str().unwrap_or_else(|| panic!("{}{}", told.out, told.err));
    assert_eq!(listed[0]["status"], "busy");
    let signal = |name: &str, value: &str| {
        run_json(folder.path(), &["threads", "signal", thread, name, value])
    };
    let (code, refused) = signal("goo", "1");
    assert_ne!(code, 0, "{refused}");
    assert_eq!(refused["error"]["code"], "runtime.unknown_signal", "{refused}");
    let (code, refused) = signal("go", "{");
    assert_ne!(code, 0, "{refused}");
    assert_eq!(refused["error"]["code"], "agent.argument", "{refused}");
    let (code, taken) = signal("go", r#"{"who": "ada"}"#);
    assert_eq!((code, &taken["signal"]), (0, &"go".into()), "{taken}");
    let ended = run(folder.path(), &["resume", thread, "--graphs", "graphs"]);
    assert_eq!(ended.code, 0, "{}{}", ended.out, ended.err);
    let (_, history) = run_json(folder.path(), &["threads", "history", thread]);
    let last = history.as_array().unwrap().last().unwrap();
    assert_eq!(last["values"]["came"], json!({"who": "ada"}));
    let (code, refused) = signal("go", "1");
    assert_ne!(code, 0, "{refused}");
    assert_eq!(refused["error"]["code"], "runtime.no_run");
}
