//! The Model Context Protocol with keys: what each may call, and what is written down of it.

use perf_agent::api::{McpAccess, Scope, SecurityOptions};
use serde_json::{Value, json};

use super::support::{GOAL, Keyed, Served, agent, key, settings};

/// A server that offers every tool to keys that may operate, and a key for each set of scopes.
async fn served() -> (Served, Keys) {
    let agent = agent(settings("memory:")).await;
    let reads = key(&agent, &[Scope::Read]).await;
    let operates = key(&agent, &[Scope::Read, Scope::Operate]).await;
    let blind = key(&agent, &[Scope::Operate, Scope::Approve]).await;
    let admin = key(&agent, &[Scope::Admin]).await;
    let mcp = McpAccess { effects: true, consent: false };
    let security = SecurityOptions { rate_rps: 1e6, ..SecurityOptions::default() };
    (Served::bound(agent, mcp, security).await, Keys { reads, operates, blind, admin })
}

struct Keys {
    reads: String,
    operates: String,
    blind: String,
    admin: String,
}

async fn ask(served: &Served, secret: &str, method: &str, params: Value) -> (u16, Value) {
    let request = served
        .client
        .post(format!("{}/mcp", served.base))
        .header("accept", "application/json, text/event-stream")
        .bearer_auth(secret)
        .json(&json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params}));
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    let mut data = text.lines().filter_map(|line| line.strip_prefix("data:")).map(str::trim);
    let last = data.rfind(|data| !data.is_empty()).unwrap_or("null");
    (status, serde_json::from_str(last).unwrap())
}

async fn call(served: &Served, secret: &str, tool: &str, args: Value) -> Value {
    let params = json!({"name": tool, "arguments": args});
    ask(served, secret, "tools/call", params).await.1["result"].clone()
}

#[tokio::test]
async fn a_key_that_reads_finds_what_reads_and_one_that_operates_all() {
    let (served, keys) = served().await;
    let names = |listed: &Value| -> Vec<String> {
        let tools = listed["result"]["tools"].as_array().unwrap().iter();
        tools.map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
    };
    let (status, read) = ask(&served, &keys.reads, "tools/list", json!({})).await;
    assert_eq!(status, 200, "{read}");
    let read = names(&read);
    assert!(
        read.contains(&"list_deployments".to_owned()) && read.contains(&"read_thread".to_owned())
    );
    for effect in ["optimize", "watch", "start_rollout", "run_trial", "abort_rollout"] {
        assert!(!read.contains(&effect.to_owned()), "{effect} is offered to a key that reads");
    }
    for secret in [&keys.operates, &keys.admin] {
        let (_, all) = ask(&served, secret, "tools/list", json!({})).await;
        let all = names(&all);
        for effect in ["optimize", "watch", "start_rollout", "run_trial"] {
            assert!(all.contains(&effect.to_owned()), "{effect} is missing");
        }
    }
    let (status, _) = ask(&served, &keys.blind, "tools/list", json!({})).await;
    assert_eq!(status, 403, "who may not look finds nothing");
    let (status, _) = ask(&served, "pa_no_key", "tools/list", json!({})).await;
    assert_eq!(status, 401);
}

#[tokio::test]
async fn what_a_key_may_not_call_is_refused_by_its_scope_and_nothing_happens() {
    let (served, keys) = served().await;
    let reads = keys.reads.as_str();
    let seen = call(&served, reads, "list_deployments", json!({})).await;
    assert_ne!(seen["isError"], true, "{seen}");
    for (tool, args) in
        [("watch", json!({"goal": GOAL})), ("start_rollout", json!({})), ("run_trial", json!({}))]
    {
        let refused = call(&served, reads, tool, args).await;
        assert_eq!(refused["isError"], true);
        assert_eq!(refused["structuredContent"]["code"], "api.forbidden", "{tool} {refused}");
    }
    let threads = served
        .client
        .post(format!("{}/threads/count", served.base))
        .bearer_auth(reads)
        .json(&json!({}));
    assert_eq!(threads.send().await.unwrap().text().await.unwrap(), "0");
}

#[tokio::test]
async fn the_audit_log_says_what_was_called_by_whom_and_how_it_ended() {
    let (served, keys) = served().await;
    let (reads, operates) = (keys.reads.as_str(), keys.operates.as_str());
    call(&served, reads, "list_deployments", json!({})).await;
    call(&served, reads, "watch", json!({"goal": GOAL})).await;
    call(&served, operates, "watch", json!({"goal": GOAL})).await;
    call(&served, operates, "run_trial", json!({"no": "such"})).await;
    let log = served.client.get(format!("{}/audit", served.base));
    let log = log.bearer_auth(&keys.admin).send().await.unwrap();
    let log: Value = serde_json::from_str(&log.text().await.unwrap()).unwrap();
    let lines: Vec<(Value, Value, Value)> = log
        .as_array()
        .unwrap()
        .iter()
        .map(|line| (line["what"].clone(), line["who"]["name"].clone(), line["outcome"].clone()))
        .collect();
    let line = |what: &str, who: &str, how: &str| (json!(what), json!(who), json!(how));
    assert_eq!(
        lines,
        [
            line("POST /mcp run_trial", "read+operate", "refused"),
            line("POST /mcp watch", "read+operate", "done"),
            line("POST /mcp watch", "read", "refused"),
        ],
        "{log}"
    );
}

#[tokio::test]
async fn what_the_server_does_not_offer_no_key_opens() {
    let keyed = Keyed::start().await;
    for scope in [Scope::Read, Scope::Admin] {
        let refused = call(&keyed.served, keyed.secret(scope), "start_rollout", json!({})).await;
        let code = &refused["structuredContent"]["code"];
        assert_eq!(code, "api.tool_not_offered", "the server was not started so: {refused}");
    }
}
