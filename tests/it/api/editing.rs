//! Graphs and prompts written over HTTP: only what is fine, only over the version that was read, and the next run uses it.

use std::path::Path;

use perf_agent::agent::Settings;
use perf_agent::api::{Scope, SecurityOptions};
use reqwest::header::{ETAG, IF_MATCH, IF_NONE_MATCH};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::support::{Keyed, Served, settings};

const TRIVIAL: &str = include_str!("../../graphs/trivial.yaml");

/// A graph of one node, named `name`.
fn graph(name: &str, adds: u32) -> String {
    let text = TRIVIAL.replace("name: trivial", &format!("name: {name}"));
    text.replace("+ 1 }}", &format!("+ {adds} }}}}"))
}

/// A graph that shows what `part` comes to.
const WHOLE: &str = r#"
schema: graph/v1
name: whole
version: 1
description: Runs another one.
input:
  n: { type: integer, optional: true }
state:
  m: { type: integer }
output: [m]
nodes:
  inner: { graph: { name: part, in: { n: "{{ n | default(0) }}" }, out: { m: "{{ n }}" } } }
edges:
  - start -> inner -> end
"#;

/// A folder with one graph and its prompts, that a server may change.
fn folder() -> (TempDir, Settings) {
    let folder = tempfile::tempdir().unwrap();
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/graphs");
    for file in ["trivial.yaml", "hitl.yaml"] {
        std::fs::copy(from.join(file), folder.path().join(file)).unwrap();
    }
    let prompts = folder.path().join("prompts");
    std::fs::create_dir(&prompts).unwrap();
    for prompt in std::fs::read_dir(from.join("prompts")).unwrap().map(Result::unwrap) {
        std::fs::copy(prompt.path(), prompts.join(prompt.file_name())).unwrap();
    }
    let graphs = Some(folder.path().to_owned());
    (folder, Settings { graphs, prompts: Some(prompts), ..settings("memory:") })
}

async fn put(served: &Served, path: &str, text: &str, version: Option<&str>) -> (u16, Value) {
    let request = served.client.put(format!("{}{path}", served.base)).body(text.to_owned());
    let request = match version {
        Some("new") => request.header(IF_NONE_MATCH, "*"),
        Some(version) => request.header(IF_MATCH, version),
        None => request,
    };
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let tag = response.headers().get(ETAG).map(|tag| tag.to_str().unwrap().to_owned());
    let body: Value = response.json().await.unwrap();
    if status < 300 {
        assert_eq!(tag, Some(format!("\"{}\"", body["version"].as_str().unwrap())));
    }
    (status, body)
}

async fn etag(served: &Served, path: &str) -> String {
    let response = served.client.get(format!("{}{path}", served.base)).send().await.unwrap();
    assert_eq!(response.status(), 200);
    response.headers()[ETAG].to_str().unwrap().to_owned()
}

async fn ran(served: &Served, graph: &str) -> Value {
    let order = json!({"assistant_id": graph, "input": {"n": 1}});
    let (status, output) = served.post("/runs/wait", order).await;
    assert_eq!(status, 200, "{output}");
    output["n"].clone()
}

/// Names of the files of a folder.
fn files(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn the_next_run_uses_a_graph_that_was_written_and_its_file_is_whole() {
    let (folder, settings) = folder();
    let served = Served::of(settings).await;
    let before = ran(&served, "trivial").await;
    let (_, shown) = served.get("/graphs/trivial").await;
    assert_eq!(shown["text"], TRIVIAL);
    let version = etag(&served, "/graphs/trivial").await;
    let text = graph("trivial", 5);
    assert_ne!(text, TRIVIAL);
    let (status, written) = put(&served, "/graphs/trivial", &text, Some(&version)).await;
    assert_eq!((status, &written["name"]), (200, &json!("trivial")), "{written}");
    let file = folder.path().join("trivial.yaml");
    assert_eq!(std::fs::read_to_string(file).unwrap(), text);
    assert_eq!(files(folder.path()), ["hitl.yaml", "prompts", "trivial.yaml"]);
    let after = ran(&served, "trivial").await;
    assert_eq!(after.as_u64().unwrap(), before.as_u64().unwrap() + 4);
    // Another one who read the first version does not undo this.
    let (status, problem) = put(&served, "/graphs/trivial", TRIVIAL, Some(&version)).await;
    assert_eq!((status, &problem["code"]), (409, &json!("agent.stale")), "{problem}");
    assert_eq!(problem["current"], written["version"]);
    let current = format!("\"{}\"", problem["current"].as_str().unwrap());
    assert_eq!(etag(&served, "/graphs/trivial").await, current);
    let versions = format!("\"older\", {current}");
    assert_eq!(put(&served, "/graphs/trivial", TRIVIAL, Some(&versions)).await.0, 200);
    assert_eq!(ran(&served, "trivial").await, before);
}

#[tokio::test]
async fn a_new_graph_is_written_once_and_runs() {
    let (folder, settings) = folder();
    let served = Served::of(settings).await;
    let text = graph("fresh", 2);
    let (status, problem) = put(&served, "/graphs/fresh", &text, None).await;
    assert_eq!((status, &problem["code"]), (428, &json!("api.precondition_missing")));
    let (status, problem) = put(&served, "/graphs/fresh", &text, Some("\"1\"")).await;
    assert_eq!((status, &problem["current"]), (409, &Value::Null), "{problem}");
    assert_eq!(put(&served, "/graphs/fresh", &text, Some("*")).await.0, 409);
    let (status, written) = put(&served, "/graphs/fresh", &text, Some("new")).await;
    assert_eq!(status, 201, "{written}");
    assert!(folder.path().join("fresh.yaml").exists());
    assert!(ran(&served, "fresh").await.is_u64());
    let (status, problem) = put(&served, "/graphs/fresh", &text, Some("new")).await;
    assert_eq!((status, &problem["current"]), (409, &written["version"]));
}

#[tokio::test]
async fn a_refused_graph_tells_everything_that_is_wrong_and_is_not_written() {
    let (folder, settings) = folder();
    let served = Served::of(settings).await;
    let version = etag(&served, "/graphs/trivial").await;
    let bad = TRIVIAL.replace("set:", "sett:").replace("version: 1", "version: one");
    assert_ne!(bad, TRIVIAL);
    let (status, problem) = put(&served, "/graphs/trivial", &bad, Some(&version)).await;
    assert_eq!((status, &problem["code"]), (422, &json!("agent.graph_refused")), "{problem}");
    let findings = problem["findings"].as_array().unwrap();
    assert!(findings.len() > 1, "{problem}");
    for finding in findings {
        assert!(finding["code"].as_str().unwrap().starts_with("PA"), "{finding}");
        assert!(finding["line"].as_u64().unwrap() > 0, "{finding}");
    }
    let (status, problem) =
        put(&served, "/graphs/trivial", &graph("hitl", 1), Some(&version)).await;
    assert_eq!((status, &problem["code"]), (422, &json!("agent.invalid_name")), "{problem}");
    assert_eq!(std::fs::read_to_string(folder.path().join("trivial.yaml")).unwrap(), TRIVIAL);
    assert_eq!(files(folder.path()), ["hitl.yaml", "prompts", "trivial.yaml"]);
    assert_eq!(etag(&served, "/graphs/trivial").await, version);
}

#[tokio::test]
async fn a_graph_that_another_one_uses_is_not_broken() {
    let (folder, settings) = folder();
    let part = graph("part", 1);
    std::fs::write(folder.path().join("part.yaml"), &part).unwrap();
    std::fs::write(folder.path().join("whole.yaml"), WHOLE).unwrap();
    let served = Served::of(settings).await;
    let version = etag(&served, "/graphs/part").await;
    let silent = part.replace("output: [n, log]", "output: [log]");
    assert_ne!(silent, part);
    let (status, problem) = put(&served, "/graphs/part", &silent, Some(&version)).await;
    assert_eq!((status, &problem["code"]), (422, &json!("agent.graph_refused")), "{problem}");
    let findings = problem["findings"].as_array().unwrap();
    assert!(
        findings.iter().all(|finding| finding["file"].as_str().unwrap().ends_with("whole.yaml")),
        "{problem}"
    );
    assert_eq!(etag(&served, "/graphs/part").await, version);
}

#[tokio::test]
async fn no_name_leads_out_of_the_folder() {
    let (folder, settings) = folder();
    let served = Served::of(settings).await;
    let outside = folder.path().join("prompts");
    let before = files(&outside);
    for name in [
        "..%2fescaped",
        "%2e%2e%2fescaped",
        "prompts%2fescaped",
        "%2ftmp%2fescaped",
        ".hidden",
        "a%00b",
        "-x",
    ] {
        for (path, text) in [("/graphs", TRIVIAL), ("/prompts", "words")] {
            let ending = if path == "/prompts" { ".md" } else { "" };
            let (status, problem) =
                put(&served, &format!("{path}/{name}{ending}"), text, Some("new")).await;
            assert_eq!((status, &problem["code"]), (422, &json!("agent.invalid_name")), "{name}");
        }
    }
    assert_eq!(put(&served, "/prompts/notes.txt", "words", Some("new")).await.0, 422);
    assert_eq!(files(&outside), before);
    assert!(!folder.path().parent().unwrap().join("escaped.yaml").exists());
}

#[tokio::test]
async fn what_is_built_in_is_not_changed() {
    let served = Served::start().await;
    for path in ["/graphs/watch", "/prompts/approve.md"] {
        let version = etag(&served, path).await;
        let (status, problem) = put(&served, path, "anything", Some(&version)).await;
        assert_eq!((status, &problem["code"]), (409, &json!("agent.built_in")), "{problem}");
        assert!(problem["hint"].as_str().unwrap().contains("--"), "{problem}");
    }
}

#[tokio::test]
async fn a_prompt_is_written_and_used_unless_a_graph_would_be_refused_with_it() {
    let (folder, settings) = folder();
    let served = Served::of(settings).await;
    let (_, prompts) = served.get("/prompts").await;
    let name = prompts[0].as_str().unwrap().to_owned();
    let path = format!("/prompts/{name}");
    let text = served.text(&path).await;
    let version = etag(&served, &path).await;
    let (status, problem) = put(&served, &path, "{{ nobody_writes_this }}", Some(&version)).await;
    assert_eq!((status, &problem["code"]), (422, &json!("agent.graph_refused")), "{problem}");
    assert_eq!(served.text(&path).await, text);
    let other = format!("{text} Think twice.");
    assert_eq!(put(&served, &path, &other, Some(&version)).await.0, 200);
    assert_eq!(served.text(&path).await, other);
    assert_eq!(std::fs::read_to_string(folder.path().join("prompts").join(&name)).unwrap(), other);
    let thread = served.thread().await;
    let order = json!({"assistant_id": "hitl", "input": {"n": 1}});
    let (_, asked) = served.post(&format!("/threads/{thread}/runs/wait"), order).await;
    assert!(asked.to_string().contains("Think twice."), "{asked}");
    assert_eq!(put(&served, &path, &text, Some(&version)).await.0, 409);
}

#[tokio::test]
async fn writing_needs_admin_and_is_noted() {
    let (_folder, settings) = folder();
    let keyed = Keyed::with(settings, SecurityOptions::default()).await;
    for scope in Scope::ALL {
        let url = format!("{}/graphs/fresh", keyed.served.base);
        let request = keyed.served.client.put(url).bearer_auth(keyed.secret(scope));
        let request = request.header(IF_NONE_MATCH, "*").body(graph("fresh", 1));
        let status = request.send().await.unwrap().status().as_u16();
        assert_eq!(status, if scope == Scope::Admin { 201 } else { 403 }, "{scope}");
    }
    let (_, entries) = keyed.get(Scope::Admin, "/audit?limit=1").await;
    assert_eq!(entries[0]["what"], "PUT /graphs/{name}");
    assert_eq!(
        (&entries[0]["status"], &entries[0]["path"]),
        (&json!(201), &json!("/graphs/fresh"))
    );
    assert_eq!(entries[0]["who"]["name"], "admin");
}
