//! The Model Context Protocol: raw JSON-RPC over HTTP, and over the pipes of the real binary.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use super::support::{GOAL, Served};

/// Every message that a request is answered with over HTTP, the answer itself last.
async fn messages(served: &Served, body: Value) -> Vec<Value> {
    let request = served
        .client
        .post(format!("{}/mcp", served.base))
        .header("accept", "application/json, text/event-stream")
        .json(&body);
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(response.headers()["content-type"].to_str().unwrap().starts_with("text/event-stream"));
    let text = response.text().await.unwrap();
    let data = text.lines().filter_map(|line| line.strip_prefix("data:")).map(str::trim);
    data.filter(|data| !data.is_empty()).map(|data| serde_json::from_str(data).unwrap()).collect()
}

async fn ask(served: &Served, method: &str, params: Value) -> Value {
    let body = json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params});
    let answer = messages(served, body).await.pop().unwrap();
    assert_eq!(answer["id"], 7, "{answer}");
    answer
}

async fn call(served: &Served, tool: &str, args: Value) -> Value {
    let answer = ask(served, "tools/call", json!({"name": tool, "arguments": args})).await;
    assert!(answer["result"].is_object(), "{answer}");
    answer["result"].clone()
}

fn hello() -> Value {
    json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "raw", "version": "1"}})
}

fn names(listed: &Value) -> Vec<&str> {
    let tools = listed["result"]["tools"].as_array().unwrap();
    tools.iter().filter_map(|tool| tool["name"].as_str()).collect()
}

#[tokio::test]
async fn a_client_is_told_who_we_are_and_that_there_are_tools() {
    let served = Served::start().await;
    let answer = ask(&served, "initialize", hello()).await;
    let result = &answer["result"];
    assert_eq!(result["protocolVersion"], "2025-06-18", "{answer}");
    assert_eq!(result["serverInfo"]["name"], "perf-agent");
    assert_eq!(result["serverInfo"]["version"], env!("CARGO_PKG_VERSION"));
    assert!(result["capabilities"]["tools"].is_object(), "{answer}");
    assert!(result["instructions"].as_str().unwrap().contains("optimize"));
}

#[tokio::test]
async fn tools_that_read_and_every_graph_are_offered_with_their_own_schemas() {
    let served = Served::start().await;
    let listed = ask(&served, "tools/list", json!({})).await;
    let (_, all) = served.get("/tools").await;
    let mut expected = vec!["optimize", "read_thread", "watch"];
    for tool in all.as_array().unwrap().iter().filter(|tool| tool["effect"] == "read") {
        expected.push(tool["name"].as_str().unwrap());
        let tools = listed["result"]["tools"].as_array().unwrap();
        let offered = tools.iter().find(|offered| offered["name"] == tool["name"]).unwrap();
        assert_eq!(offered["inputSchema"], tool["arguments"]);
        assert_eq!(offered["inputSchema"]["type"], "object");
        assert_eq!(offered["description"], tool["tell"]);
        assert_eq!(offered["annotations"]["readOnlyHint"], true);
    }
    expected.sort_unstable();
    assert_eq!(names(&listed), expected);
    let tools = listed["result"]["tools"].as_array().unwrap();
    let optimize = tools.iter().find(|tool| tool["name"] == "optimize").unwrap();
    assert!(optimize["inputSchema"]["properties"]["goal"].is_object(), "{optimize}");
}

#[tokio::test]
async fn a_call_gives_what_the_tool_gives() {
    let served = Served::start().await;
    let result = call(&served, "list_deployments", json!({})).await;
    let (_, all) = served.get("/deployments").await;
    assert_eq!(result["structuredContent"], json!({"deployments": all}));
    let text: Value = serde_json::from_str(result["content"][0]["text"].as_str().unwrap()).unwrap();
    assert_eq!(text, result["structuredContent"]);
    assert_ne!(result["isError"], true);
}

#[tokio::test]
async fn an_unknown_tool_is_an_error_of_the_protocol_and_wrong_arguments_one_of_the_call() {
    let served = Served::start().await;
    let answer = ask(&served, "tools/call", json!({"name": "nothing", "arguments": {}})).await;
    assert_eq!(answer["error"]["code"], -32602, "{answer}");
    assert_eq!(answer["error"]["data"]["code"], "tools.unknown_tool", "{answer}");
    let result = call(&served, "read_metrics", json!({"window_s": "long"})).await;
    assert_eq!(result["isError"], true);
    assert_eq!(result["structuredContent"]["code"], "tools.invalid_arguments", "{result}");
    let result = call(&served, "watch", json!({"colour": "red"})).await;
    assert_eq!(result["isError"], true, "{result}");
    let result = call(&served, "read_thread", json!({"thread_id": "nobody"})).await;
    assert_eq!(result["structuredContent"]["code"], "agent.unknown_thread", "{result}");
    assert_eq!(ask(&served, "tools/fly", json!({})).await["error"]["code"], -32601);
}

#[tokio::test]
async fn what_changes_something_is_withheld_unless_the_server_was_started_so() {
    let served = Served::start().await;
    for tool in ["start_rollout", "run_trial", "abort_rollout"] {
        let result = call(&served, tool, json!({})).await;
        assert_eq!(result["isError"], true);
        assert_eq!(result["structuredContent"]["code"], "api.tool_not_offered", "{result}");
    }
    let served = Served::with_mcp_effects().await;
    let listed = ask(&served, "tools/list", json!({})).await;
    for tool in ["start_rollout", "run_trial", "abort_rollout"] {
        assert!(names(&listed).contains(&tool), "{tool}");
    }
}

#[tokio::test]
async fn a_rollout_is_refused_without_consent_whatever_the_model_says() {
    let served = Served::with_mcp_effects().await;
    let thread = served.optimize(json!({"goal": GOAL})).await;
    assert_eq!(served.rested(&thread).await["status"], "interrupted");
    let (_, state) = served.get(&format!("/threads/{thread}/state")).await;
    let args =
        json!({"trial": state["values"]["chosen"], "objective": state["values"]["objective"]});
    let result = call(&served, "start_rollout", args).await;
    assert_eq!(result["isError"], true);
    assert_eq!(result["structuredContent"]["code"], "tools.approval_missing", "{result}");
    let result = call(&served, "rollout_status", json!({"rollout": "any"})).await;
    assert_eq!(result["structuredContent"]["code"], "tools.approval_missing", "{result}");
    assert_eq!(served.get("/rollout/status").await.1, json!([]));
}

#[tokio::test]
async fn a_graphs_question_comes_back_with_its_thread_and_how_to_answer() {
    let served = Served::with_test_graphs("memory:").await;
    let result = call(&served, "hitl", json!({"n": 1})).await;
    let waits = &result["structuredContent"];
    assert_eq!((&waits["status"], &result["isError"]), (&json!("interrupted"), &json!(false)));
    let thread = waits["thread_id"].as_str().unwrap();
    assert!(!waits["questions"][0]["text"].as_str().unwrap().is_empty(), "{waits}");
    assert!(waits["how_to_answer"].as_str().unwrap().contains(thread), "{waits}");
    let answer = json!({"assistant_id": "hitl", "command": {"resume": "yes"}});
    assert_eq!(served.post(&format!("/threads/{thread}/runs/wait"), answer).await.0, 200);
    let result = call(&served, "read_thread", json!({"thread_id": thread})).await;
    let done = &result["structuredContent"];
    assert_eq!(done["status"], "done", "{done}");
    assert_eq!(done["output"], json!({"n": 2, "log": ["a", "answer=yes"]}));
    assert_eq!((&done["questions"], &done["how_to_answer"]), (&json!([]), &Value::Null));
}

#[tokio::test]
async fn a_client_that_asks_for_progress_is_told_the_thread_and_every_node() {
    let served = Served::with_test_graphs("memory:").await;
    let params = json!({"name": "hitl", "arguments": {}, "_meta": {"progressToken": "p"}});
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
    let told = messages(&served, body).await;
    let (answer, progress) = told.split_last().unwrap();
    assert!(progress.iter().all(|told| told["method"] == "notifications/progress"), "{told:?}");
    let lines: Vec<&str> =
        progress.iter().filter_map(|told| told["params"]["message"].as_str()).collect();
    let thread = answer["result"]["structuredContent"]["thread_id"].as_str().unwrap();
    assert_eq!(lines[0], format!("thread {thread}"));
    assert!(lines.contains(&"a: done") && lines.contains(&"ask: asks"), "{lines:?}");
}

#[tokio::test]
async fn what_is_no_message_is_refused_and_never_breaks() {
    let served = Served::start().await;
    let url = format!("{}/mcp", served.base);
    for body in ["", "{", "[]", "{}", "null", r#"{"jsonrpc":"1.0","id":1,"method":"tools/list"}"#] {
        let request = served.client.post(&url).header("content-type", "application/json");
        let request = request.header("accept", "application/json, text/event-stream");
        let status = request.body(body).send().await.unwrap().status();
        assert!(status.is_client_error(), "{body}: {status}");
    }
    assert_eq!(served.client.post(&url).body("{}").send().await.unwrap().status(), 406);
    assert_eq!(served.client.get(&url).send().await.unwrap().status(), 405);
    let foreign = served.client.post(&url).header("origin", "https://example.org");
    assert_eq!(foreign.send().await.unwrap().status(), 403);
}

/// The real binary, spoken with over its pipes.
struct Piped {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Piped {
    fn start(folder: &std::path::Path, flags: &[&str]) -> Self {
        let graphs = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/graphs");
        let prompts = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/graphs/prompts");
        let mut command = Command::new(env!("CARGO_BIN_EXE_perf-agent"));
        command.current_dir(folder).args(["mcp", "--model", "expert"]).args(flags);
        command.args(["--graphs", graphs, "--prompts", prompts]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut piped = Self { child, lines };
        let answer = piped.ask("initialize", hello());
        assert_eq!(answer["result"]["serverInfo"]["name"], "perf-agent", "{answer}");
        piped.send(json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
        piped
    }

    fn send(&mut self, message: Value) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{message}").unwrap();
    }

    fn ask(&mut self, method: &str, params: Value) -> Value {
        self.send(json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params}));
        // Nothing but the protocol is on stdout.
        let message: Value = serde_json::from_str(&self.lines.next().unwrap().unwrap()).unwrap();
        assert_eq!(message["id"], 7, "{message}");
        message
    }

    fn call(&mut self, tool: &str, args: Value) -> Value {
        self.ask("tools/call", json!({"name": tool, "arguments": args}))["result"].clone()
    }

    /// Closes stdin, as a client does that leaves.
    fn leave(mut self) -> i32 {
        drop(self.child.stdin.take());
        self.child.wait().unwrap().code().unwrap()
    }
}

#[test]
fn over_pipes_the_same_is_offered_and_a_question_can_be_answered_later() {
    let folder = tempfile::tempdir().unwrap();
    let mut piped = Piped::start(folder.path(), &[]);
    let listed = piped.ask("tools/list", json!({}));
    assert!(names(&listed).contains(&"hitl") && names(&listed).contains(&"read_metrics"));
    assert!(!names(&listed).contains(&"start_rollout"));
    let answer = piped.ask("tools/call", json!({"name": "nothing"}));
    assert_eq!(answer["error"]["data"]["code"], "tools.unknown_tool", "{answer}");
    let result = piped.call("start_rollout", json!({}));
    assert_eq!(result["structuredContent"]["code"], "api.tool_not_offered", "{result}");
    let result = piped.call("hitl", json!({"n": 1}));
    let waits = result["structuredContent"].clone();
    assert_eq!(waits["status"], "interrupted", "{waits}");
    let thread = waits["thread_id"].as_str().unwrap();
    assert!(
        waits["how_to_answer"].as_str().unwrap().contains(&format!("perf-agent resume {thread}"))
    );
    assert_eq!(piped.leave(), 0);
    // As the result said: once it has ended, on the same store.
    let graphs = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/graphs");
    let prompts = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/graphs/prompts");
    let args = ["resume", thread, "--answer", "\"yes\"", "--graphs", graphs, "--prompts", prompts];
    let ended = crate::cli::support::run(folder.path(), &args);
    assert_eq!(ended.code, 0, "{}{}", ended.out, ended.err);
    let mut piped = Piped::start(folder.path(), &[]);
    let result = piped.call("read_thread", json!({"thread_id": thread}));
    assert_eq!(result["structuredContent"]["output"]["n"], 2, "{result}");
    assert_eq!(piped.leave(), 0);
}

#[test]
fn over_pipes_consent_is_the_flag_of_the_person_who_starts_it() {
    let folder = tempfile::tempdir().unwrap();
    for (flags, code) in [
        (&["--store", "memory:", "--mcp-effects"][..], "tools.approval_missing"),
        (&["--store", "memory:", "--mcp-effects", "--yes"][..], "tools.unknown_rollout"),
    ] {
        let mut piped = Piped::start(folder.path(), flags);
        let result = piped.call("rollout_status", json!({"rollout": "any"}));
        assert_eq!(result["isError"], true);
        assert_eq!(result["structuredContent"]["code"], code, "{result}");
        assert_eq!(piped.leave(), 0);
    }
}
