//! Bad input: a code, what was expected, and nothing half done.

use super::support::{run, run_json};

/// Runs `optimize` with a goal and gives the code of its error.
fn goal_code(goal: &str, more: &[&str]) -> (i32, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let mut args = vec!["optimize", goal, "--yes"];
    args.extend(more);
    let (code, result) = run_json(folder.path(), &args);
    let text = |key: &str| result["error"][key].as_str().unwrap_or_default().to_owned();
    assert_eq!(result["status"], "failed");
    (code, text("code"), text("message"))
}

#[test]
fn a_goal_that_cannot_be_read_says_what_a_goal_looks_like() {
    let (exit, code, message) = goal_code("make it nice", &[]);
    assert_eq!((exit, code.as_str()), (1, "llm.task_unclear"));
    assert!(message.contains("p95 TTFT under 300 ms"), "{message}");
}

#[test]
fn a_goal_that_contradicts_itself_says_where() {
    let (_, code, message) = goal_code("p95 TTFT above 300 ms", &[]);
    assert_eq!(code, "llm.task_unclear");
    assert!(message.contains("contradicts itself"), "{message}");
}

#[test]
fn an_unknown_target_names_the_known_ones() {
    let (exit, code, message) = goal_code("p95 TTFT under 300 ms", &["--target", "nope"]);
    assert_eq!((exit, code.as_str()), (1, "tools.unknown_deployment"));
    assert!(message.contains("there are: chat"), "{message}");
}

#[test]
fn a_bad_config_file_is_refused_with_its_place_and_nothing_is_started() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bad.yaml");
    std::fs::write(&file, "deployments:\n  - launcher: simulated\n    wurld: {}\n").unwrap();
    let ended = run(folder.path(), &["optimize", "p95 TTFT under 300 ms", "--config", "bad.yaml"]);
    assert_eq!(ended.code, 2, "{}", ended.err);
    assert!(ended.err.contains("agent.config") && ended.err.contains("wurld"), "{}", ended.err);
    assert!(!folder.path().join("perf-agent.db").exists());
}

#[test]
fn a_bad_graph_file_is_refused_with_line_and_column() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("g.yaml");
    std::fs::write(&file, "schema: graph/v1\nname: g\nnodez: {}\n").unwrap();
    let ended = run(folder.path(), &["graph", "check", "g.yaml"]);
    assert_eq!(ended.code, 1);
    assert!(ended.err.contains("PA0") && ended.err.contains("g.yaml"), "{}", ended.err);
}

#[test]
fn groq_without_a_key_is_an_error_and_never_the_expert() {
    let folder = tempfile::tempdir().unwrap();
    let ended = run(folder.path(), &["optimize", "p95 TTFT under 300 ms", "--model", "groq"]);
    assert_eq!(ended.code, 1);
    assert!(ended.err.contains("agent.no_key"), "{}", ended.err);
}

#[test]
fn a_tool_checks_its_arguments_and_its_consent_before_it_does_anything() {
    let folder = tempfile::tempdir().unwrap();
    let call = |tool: &str, args: &str| run(folder.path(), &["tools", "call", tool, args]);
    let short = call("read_metrics", r#"{"deployment": "chat", "window_s": 1}"#);
    assert!(short.err.contains("tools.invalid_arguments"), "{}", short.err);
    let ungranted = call("rollout_status", r#"{"rollout": "r"}"#);
    assert!(ungranted.err.contains("tools.approval_missing"), "{}", ungranted.err);
    let unknown = call("make_coffee", "{}");
    assert!(unknown.err.contains("tools.unknown_tool"), "{}", unknown.err);
}

#[test]
fn what_was_typed_wrong_is_usage() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(run(folder.path(), &["optimise"]).code, 2);
    assert_eq!(run(folder.path(), &["threads", "show", "nope"]).code, 2);
    assert_eq!(run(folder.path(), &["--store", "redis:x", "threads", "list"]).code, 1);
}
