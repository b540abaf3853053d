//! Trouble from outside: a full disk, a second process, a server that is not there or another one, a key that is refused.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::support::{Going, answering, command, ended, journal, run, run_json};

const GOAL: &str = "p95 TTFT under 300 ms, no less throughput";

/// A config file for a server that someone else started.
fn external(folder: &Path, url: &str) {
    let text = format!(
        "deployments:\n  - launcher: external\n    name: chat\n    engine: vllm\n    \
         endpoints: [\"{url}\"]\n    served_model: m\n"
    );
    std::fs::write(folder.join("external.yaml"), text).unwrap();
}

/// Every run on record, once the store was found whole.
fn threads(folder: &Path) -> Vec<Value> {
    let (code, report) = run_json(folder, &["store", "check"]);
    assert_eq!((code, &report["damages"]), (0, &serde_json::json!([])), "{report}");
    let (code, listed) = run_json(folder, &["threads", "list"]);
    assert_eq!(code, 0, "{listed}");
    listed.as_array().unwrap().clone()
}

/// An `optimize` on an external server fails with `code`; the run is kept, nothing was changed, nothing deployed.
fn refused(url: &str, code: &str, said: &str) {
    let folder = tempfile::tempdir().unwrap();
    external(folder.path(), url);
    let args = ["optimize", GOAL, "--yes", "--config", "external.yaml"];
    let (exit, result) = run_json(folder.path(), &args);
    assert_eq!((exit, result["status"].as_str()), (1, Some("failed")), "{result:#}");
    assert_eq!(result["error"]["code"], code, "{result:#}");
    assert!(result["error"]["message"].as_str().unwrap().contains(said), "{result:#}");
    assert!(!result["error"]["hint"].as_str().unwrap().is_empty(), "{result:#}");
    assert!(result["rollout"].is_null() && result["change"].as_object().unwrap().is_empty());
    let listed = threads(folder.path());
    assert_eq!(listed.len(), 1, "{listed:?}");
    assert_eq!(listed[0]["thread"], result["thread_id"]);
}

#[test]
fn an_engine_that_does_not_answer_is_said_to_be_unreachable() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    refused(&format!("http://{closed}"), "serving.unreachable", &closed.to_string());
}

#[test]
fn the_page_of_another_engine_is_told_from_the_declared_one() {
    let page = "# TYPE node_cpu_seconds_total counter\nnode_cpu_seconds_total{cpu=\"0\"} 12\n";
    let url = answering("200 OK", "text/plain; version=0.0.4", page);
    refused(&url, "serving.wrong_engine", "not a vllm page");
}

#[test]
fn a_key_that_the_provider_refuses_ends_the_run_and_is_never_printed() {
    let folder = tempfile::tempdir().unwrap();
    let body = r#"{"error": {"message": "Invalid API Key", "code": "invalid_api_key"}}"#;
    let url = answering("401 Unauthorized", "application/json", body);
    let mut optimize =
        command(folder.path(), &["optimize", GOAL, "--yes", "--model", "groq", "--format", "json"]);
    optimize.env("GROQ_API_KEY", "gsk_notthisone").env("LLM_BASE_URL", format!("{url}/v1"));
    let done = ended(&mut optimize);
    let result: Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!((done.code, result["status"].as_str()), (1, Some("failed")), "{result:#}");
    assert_eq!(result["error"]["code"], "llm.unauthorized", "{result:#}");
    assert!(result["error"]["hint"].as_str().unwrap().contains("GROQ_API_KEY"), "{result:#}");
    assert!(!format!("{}{}", done.out, done.err).contains("notthisone"));
    assert!(result["diagnosis"].is_null() && result["rollout"].is_null(), "never the expert");
    assert_eq!(threads(folder.path()).len(), 1);
}

#[test]
fn a_second_process_on_one_store_is_refused_and_told_by_whom() {
    let folder = tempfile::tempdir().unwrap();
    let server = Going::start(folder.path(), &["serve", "--port", "0", "--model", "expert"]);
    let (code, refused) = run_json(folder.path(), &["optimize", GOAL, "--yes"]);
    assert_eq!((code, &refused["error"]["code"]), (1, &"store.locked".into()), "{refused}");
    let message = refused["error"]["message"].as_str().unwrap();
    assert!(message.contains(&server.pid().to_string()), "{message}");
    let (code, refused) = run_json(folder.path(), &["serve", "--port", "0", "--model", "expert"]);
    assert_eq!((code, &refused["error"]["code"]), (1, &"store.locked".into()), "{refused}");
    assert_eq!(server.stop(), 0);
    assert_eq!(threads(folder.path()), Vec::<Value>::new(), "the refused one left nothing");
}

/// Servers that the world was told to start: what for, and with which config.
fn launches(folder: &Path, result: &Value) -> Vec<String> {
    let lines = journal(folder, result);
    let launches = lines.iter().filter_map(|line| line.pointer("/action/launch"));
    launches.map(|launch| format!("{} {}", launch["purpose"], launch["config"])).collect()
}

/// Goes on with the run that a full disk ended: it ends improved, and nothing was done twice.
fn goes_on(folder: &Path) {
    let listed = threads(folder);
    assert_eq!(listed.len(), 1, "{listed:?}");
    let thread = listed[0]["thread"].as_str().unwrap();
    let (code, done) = run_json(folder, &["resume", thread]);
    assert_eq!((code, done["status"].as_str()), (0, Some("improved")), "{done:#}");
    let launches = launches(folder, &done);
    let once: std::collections::BTreeSet<&String> = launches.iter().collect();
    assert!(launches.len() > 2 && launches.len() == once.len(), "{launches:#?}");
}

/// No file may grow beyond a limit: the nearest to a full disk that every machine has.
#[test]
fn a_store_that_may_not_grow_fails_the_run_and_a_resume_goes_on_where_it_stood() {
    let folder = tempfile::tempdir().unwrap();
    let script = "trap '' XFSZ; ulimit -f 2000; exec \"$0\" \"$@\"";
    let done = in_shell(folder.path(), &["sh", "-c", script]);
    assert_eq!(done.0, 1, "{:#}", done.1);
    assert_eq!(done.1["error"]["code"], "store.io", "{:#}", done.1);
    goes_on(folder.path());
}

/// A disk of 500 KiB, where this process may mount one.
#[test]
fn a_full_disk_is_said_and_nothing_is_lost_by_it() {
    let probe = ["-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"];
    let able = Command::new("unshare").args(probe).output();
    if !able.is_ok_and(|output| output.status.success()) {
        println!("skipped: no disk can be mounted here (unshare -rm)");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    // What was on the small disk is brought out to be looked at.
    let script = "mkdir ../small && mount -t tmpfs -o size=500k tmpfs ../small && cd ../small && \
                  \"$0\" \"$@\"; code=$?; \
                  cp -R . \"$OLDPWD\"; exit $code";
    let inside = folder.path().join("kept");
    std::fs::create_dir(&inside).unwrap();
    let done = in_shell(&inside, &["unshare", "-rm", "sh", "-c", script]);
    assert_eq!((done.0, &done.1["error"]["code"]), (1, &"store.full".into()), "{:#}", done.1);
    assert!(done.1["error"]["hint"].as_str().unwrap().contains("space"), "{:#}", done.1);
    goes_on(&inside);
}

/// An `optimize` inside of a shell's conditions: its exit code and what it printed.
fn in_shell(folder: &Path, shell: &[&str]) -> (i32, Value) {
    let mut inside = Command::new(shell[0]);
    let args = ["optimize", GOAL, "--yes", "--model", "expert", "--format", "json"];
    inside.current_dir(folder).args(&shell[1..]).arg(env!("CARGO_BIN_EXE_perf-agent")).args(args);
    inside.env_remove("GROQ_API_KEY").stdin(std::process::Stdio::null());
    let done = ended(&mut inside);
    let value = serde_json::from_str(&done.out);
    (done.code, value.unwrap_or_else(|_| panic!("no JSON: {}{}", done.out, done.err)))
}

#[test]
fn a_doctor_says_which_deployment_does_not_answer() {
    let folder = tempfile::tempdir().unwrap();
    external(folder.path(), "http://127.0.0.1:9");
    let done = run(folder.path(), &["doctor", "--config", "external.yaml"]);
    assert_eq!(done.code, 1, "{}", done.out);
    let line = done.out.lines().find(|line| line.contains("deployment chat")).unwrap();
    assert!(line.starts_with("FAIL") && line.contains("serving.unreachable"), "{line}");
}
