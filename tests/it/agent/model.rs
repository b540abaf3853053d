//! The same command driven by a model over HTTP: a puppet that answers as Groq's server does, from what it is sent.

use std::process::Stdio;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use serde_json::{Value, json};

const KEY: &str = "gsk-puppet";

type Asked = Arc<Mutex<Vec<Value>>>;

/// The JSON on the line under a heading of the prompt.
fn under(prompt: &str, heading: &str) -> Value {
    let rest = prompt.split(&format!("# {heading}\n")).nth(1).unwrap();
    serde_json::from_str(rest.lines().next().unwrap()).unwrap()
}

fn messages(request: &Value) -> &Vec<Value> {
    request["messages"].as_array().unwrap()
}

/// The newest result of a tool.
fn result(request: &Value) -> Option<Value> {
    let tools = messages(request).iter().rev().find(|message| message["role"] == "tool")?;
    serde_json::from_str(tools["content"].as_str()?).ok()
}

/// What the puppet says: a tool call (name, arguments) or a text.
fn say(request: &Value) -> Result<(&'static str, Value), String> {
    let prompt = messages(request)[1]["content"].as_str().unwrap();
    let wants_answer = !request["response_format"].is_null();
    let seen = result(request);
    if prompt.contains("Turn the goal into an Objective") {
        if !wants_answer {
            return if seen.is_none() {
                Ok(("list_deployments", json!({})))
            } else {
                Err("I have seen enough.".to_owned())
            };
        }
        let bound = json!({"metric": "ttft", "statistic": "p95", "max_ms": 300.0});
        let objective = json!({"deployment": "chat", "targets": [bound], "keep": ["throughput"], "improve": null});
        return Err(objective.to_string());
    }
    if prompt.contains("Name the bottleneck") {
        return match seen {
            Some(seen) if wants_answer => Err(seen.to_string()),
            Some(_) => Err("I have seen enough.".to_owned()),
            None => {
                let objective = under(prompt, "Objective");
                Ok(("explain_bottleneck", json!({"objective": objective, "window_s": 600})))
            }
        };
    }
    if prompt.contains("Propose one to five configs") {
        return match seen {
            Some(seen) if wants_answer => Err(json!([seen["shortlist"][0]]).to_string()),
            Some(_) => Err("I have seen enough.".to_owned()),
            None => {
                let (objective, diagnosis) =
                    (under(prompt, "Objective"), under(prompt, "Diagnosis"));
                Ok(("search_configs", json!({"objective": objective, "diagnosis": diagnosis})))
            }
        };
    }
    let report =
        json!({"headline": "The puppet is done.", "summary": "It was seats.", "next_steps": []});
    Err(report.to_string())
}

fn chunk(delta: Value, finish: Option<&str>) -> String {
    let choice = json!({"index": 0, "delta": delta, "finish_reason": finish});
    let chunk = json!({
        "id": "c", "object": "chat.completion.chunk", "created": 0, "model": "openai/gpt-oss-20b",
        "service_tier": "on_demand", "choices": [choice],
    });
    format!("data: {chunk}\n\n")
}

async fn chat(State(asked): State<Asked>, body: String) -> Response {
    let request: Value = serde_json::from_str(&body).unwrap();
    let mut stream = String::new();
    match say(&request) {
        Ok((name, arguments)) => {
            let function = json!({"name": name, "arguments": arguments.to_string()});
            let call =
                json!({"index": 0, "id": "call_1", "type": "function", "function": function});
            stream += &chunk(json!({"role": "assistant", "tool_calls": [call]}), None);
            stream += &chunk(json!({}), Some("tool_calls"));
        }
        Err(text) => {
            stream += &chunk(json!({"role": "assistant", "content": text}), None);
            stream += &chunk(json!({}), Some("stop"));
        }
    }
    stream += "data: [DONE]\n\n";
    asked.lock().unwrap().push(request);
    Response::builder()
        .header("content-type", "text/event-stream")
        .body(Body::from(stream))
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_over_http_drives_the_same_job_through_the_same_tools() {
    let asked = Asked::default();
    let router = Router::new().route("/chat/completions", post(chat)).with_state(asked.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let folder = tempfile::tempdir().unwrap();
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_perf-agent"));
    command.current_dir(folder.path()).stdin(Stdio::null());
    command.env("GROQ_API_KEY", KEY).env("LLM_BASE_URL", &url).env_remove("GROQ_MODEL");
    command.args([
        "optimize",
        "p95 TTFT under 300 ms, no less throughput",
        "--yes",
        "--format",
        "json",
    ]);
    let output = command.output().await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let report: Value = serde_json::from_str(&text)
        .unwrap_or_else(|_| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)));
    assert_eq!(report["status"], "improved", "{report:#}");
    assert!(report["model"].as_str().unwrap().starts_with("openai/gpt-oss-20b"));
    assert_eq!(report["report"]["headline"], "The puppet is done.");
    assert_eq!(report["trials"].as_array().unwrap().len(), 1, "the puppet proposed one config");
    let asked = asked.lock().unwrap();
    for request in asked.iter() {
        let both = !request["tools"].is_null() && !request["response_format"].is_null();
        assert!(!both, "tools and a response format in one request");
    }
    assert!(!text.contains(KEY));
}
