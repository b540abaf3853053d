//! Every other command, as a process: what it prints and how it ends.

use serde_json::Value;

use super::support::{Going, run, run_json};

const WATCH: [&str; 4] = ["run", "watch", "--input", r#"{"goal": "p95 TTFT under 300 ms"}"#];

#[test]
fn a_doctor_names_everything_that_it_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let (code, checks) = run_json(folder.path(), &["doctor"]);
    let ok = |name: &str| {
        let mut all = checks.as_array().unwrap().iter();
        let check = all.find(|check| check["name"] == name).unwrap_or_else(|| panic!("{name}"));
        assert!(!check["detail"].as_str().unwrap().is_empty(), "{check}");
        check["ok"].as_bool()
    };
    assert_eq!(code, 0, "{checks:#}");
    for name in ["decides", "graphs", "store", "deployment chat"] {
        assert_eq!(ok(name), Some(true), "{name}");
    }
    assert_eq!(ok("model provider"), None, "no key: not there, and not needed");
    assert!(!folder.path().join("perf-agent.db").exists(), "looking leaves nothing behind");
}

#[test]
fn a_simulated_engine_takes_the_load_that_the_load_command_puts_on_it() {
    let folder = tempfile::tempdir().unwrap();
    let args = ["simulate", "--port", "0", "--speed", "50", "--format", "json"];
    let engine = Going::start(folder.path(), &args);
    let said: Value = serde_json::from_str(&engine.said).unwrap();
    let (url, model) = (said["url"].as_str().unwrap(), said["served_model"].as_str().unwrap());
    let load = ["load", url, "--served-model", model, "--rate", "40", "--seed", "3"];
    let sizes = ["--duration-s", "2", "--warmup-s", "0", "--output-tokens", "8"];
    let done = run(folder.path(), &[&load[..], &sizes].concat());
    assert_eq!(done.code, 0, "{}", done.err);
    let seen: Value = serde_json::from_str(&done.out).unwrap();
    let stats = &seen["stats"];
    assert!(stats["requests"].as_u64().unwrap() > 20, "{seen:#}");
    assert_eq!((&stats["requests_failed"], &stats["streams_cut"]), (&0.into(), &0.into()));
    assert!(stats["ttft_p95_ms"].as_f64().unwrap() > 0.0, "{seen:#}");
    assert!((0.0..=1.0).contains(&seen["within_slo"].as_f64().unwrap()), "{seen:#}");
    assert_eq!(engine.stop(), 0);
    let gone = run(folder.path(), &[&load[..], &sizes].concat());
    assert_eq!(gone.code, 1, "{}", gone.err);
    let gone: Value = serde_json::from_str(&gone.out).unwrap();
    assert_eq!(gone["stats"]["requests_failed"], gone["stats"]["requests"], "{gone:#}");
}

#[test]
fn a_proxy_says_where_it_listens_has_no_table_at_first_and_ends_when_told() {
    let folder = tempfile::tempdir().unwrap();
    let args = ["proxy", "--listen", "127.0.0.1:0", "--control", "c.sock", "--state", "t.json"];
    let proxy = Going::start(folder.path(), &args);
    let url = proxy.said.trim().strip_prefix("the proxy takes requests at ").unwrap();
    let load = ["load", url, "--served-model", "m", "--rate", "5"];
    let sizes = ["--duration-s", "1", "--warmup-s", "0"];
    let done = run(folder.path(), &[&load[..], &sizes].concat());
    let seen: Value = serde_json::from_str(&done.out).unwrap_or_default();
    assert_eq!(seen["stats"]["requests_failed"], seen["stats"]["requests"], "{}", done.out);
    let second = run(folder.path(), &args);
    assert_eq!(second.code, 1, "{}", second.out);
    assert!(second.err.contains("proxy.already_running"), "{}", second.err);
    assert_eq!(proxy.stop(), 0);
    assert!(!folder.path().join("c.sock").exists());
}

#[test]
fn a_graph_is_run_and_its_thread_is_listed_shown_and_told_step_by_step() {
    let folder = tempfile::tempdir().unwrap();
    let (code, done) = run_json(folder.path(), &WATCH);
    assert_eq!((code, &done["status"]), (0, &"done".into()), "{done:#}");
    assert!(done["diagnosis"]["bottleneck"].is_string(), "{done:#}");
    assert_eq!(done["output"]["diagnosis"], done["diagnosis"], "{done:#}");
    let thread = done["thread_id"].as_str().unwrap();
    let (code, listed) = run_json(folder.path(), &["threads", "list"]);
    assert_eq!((code, listed.as_array().map(Vec::len)), (0, Some(1)), "{listed}");
    assert_eq!((&listed[0]["thread"], &listed[0]["graph"]), (&done["thread_id"], &"watch".into()));
    assert_eq!(run_json(folder.path(), &["threads", "show", thread]), (0, done.clone()));
    let told = run(folder.path(), &["threads", "history", thread]);
    let next: Vec<&str> =
        told.out.lines().map(|line| line.split("next: ").nth(1).unwrap()).collect();
    assert_eq!(
        (told.code, next),
        (0, vec!["understand", "observe", "diagnose", ""]),
        "{}",
        told.out
    );
    let (_, history) = run_json(folder.path(), &["threads", "history", thread]);
    assert_eq!(history.as_array().map(Vec::len), Some(4));
    let wrong = run(folder.path(), &["run", "nothing"]);
    assert_eq!(wrong.code, 2);
    assert!(
        wrong.err.contains("agent.unknown_graph") && wrong.err.contains("watch"),
        "{}",
        wrong.err
    );
}

#[test]
fn the_schema_of_graph_files_knows_every_key_of_the_graphs_that_come_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let printed = run(folder.path(), &["graph", "schema"]);
    assert_eq!(printed.code, 0, "{}", printed.err);
    let schema: Value = serde_json::from_str(&printed.out).unwrap();
    let keys = schema["properties"].as_object().unwrap();
    assert_eq!(schema["additionalProperties"], false);
    for text in
        [include_str!("../../../graphs/optimize.yaml"), include_str!("../../../graphs/watch.yaml")]
    {
        let top = text.lines().filter(|line| line.starts_with(char::is_alphabetic));
        for key in top.map(|line| line.split(':').next().unwrap()) {
            assert!(keys.contains_key(key), "{key}");
        }
    }
}

#[test]
fn looking_at_records_makes_no_world() {
    let folder = tempfile::tempdir().unwrap();
    let (code, listed) = run_json(folder.path(), &["threads", "list"]);
    assert_eq!((code, listed), (0, serde_json::json!([])));
    assert!(!folder.path().join("perf-agent.db.worlds").exists());
}
