//! Who may call what.

use perf_agent::api::{Keys, McpAccess, Scope, SecurityOptions, Server, ServerOptions};
use perf_agent::base::{Coded, Millis};
use serde_json::{Value, json};

use crate::api::support::{GOAL, Keyed, Served, agent, key, operations, settings};

#[tokio::test]
async fn every_operation_needs_a_key_and_of_that_key_its_scope() {
    let keyed = Keyed::start().await;
    let (mut open, mut refused) = (Vec::new(), 0);
    for (method, path, scope) in operations() {
        let url = format!("{}{path}", keyed.served.base);
        let request = keyed.served.client.request(method.parse().unwrap(), url);
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let Some(scope) = scope else {
            assert_eq!(status, 200, "{method} {path}");
            open.push(path);
            continue;
        };
        assert_eq!(status, 401, "{method} {path}");
        assert_eq!(response.headers()["www-authenticate"], "Bearer");
        for held in Scope::ALL {
            let (status, answer) = keyed.send(held, &method, &path, None).await;
            let may = held == Scope::Admin || held.as_str() == scope;
            let what = format!("{held} on {method} {path}: {status} {answer}");
            // The seed's clients read it in the seed's shape.
            let told = answer["code"] == "api.forbidden" || answer["error"] == "http_403";
            assert_eq!(status == 403 && told, !may, "{what}");
            assert_ne!(status, 401, "{what}");
            refused += u32::from(!may);
        }
    }
    assert_eq!(open, ["/health", "/health/live", "/health/ready", "/ok"]);
    assert!(refused > 200, "{refused}");
}

#[test]
fn scopes_of_the_operations_that_matter_most_are_as_agreed() {
    let operations = operations();
    let needs = |method: &str, path: &str| {
        let found = operations.iter().find(|(m, p, _)| m == method && p == path);
        found.unwrap_or_else(|| panic!("{method} {path}")).2.clone().unwrap_or_default()
    };
    for (method, path, scope) in [
        ("POST", "/optimize", "operate"),
        ("POST", "/optimize/x/approve", "approve"),
        ("POST", "/api/v1/workflows", "operate"),
        ("POST", "/api/v1/workflows/x/approve", "approve"),
        ("POST", "/api/v1/workflows/x/reject", "approve"),
        ("GET", "/api/v1/workflows/x", "read"),
        ("POST", "/task", "operate"),
        ("POST", "/mcp", "read"),
        ("POST", "/optimize/x/reject", "approve"),
        ("POST", "/rollout/x/abort", "operate"),
        ("POST", "/threads/x/state", "approve"),
        ("POST", "/threads/search", "read"),
        ("GET", "/metrics", "read"),
        ("GET", "/audit", "admin"),
        ("POST", "/keys", "admin"),
        ("DELETE", "/keys/x", "admin"),
    ] {
        assert_eq!(needs(method, path), scope, "{method} {path}");
    }
    // A POST that only reads is a search, a count or a check.
    for (method, path, scope) in &operations {
        if method != "GET" && scope.as_deref() == Some("read") {
            let ends = ["search", "count", "check", "validate", "namespaces", "versions"];
            // MCP looks at the key again, call by call.
            let reads = ends.iter().any(|end| path.ends_with(end)) || path == "/mcp";
            assert!(reads || path.ends_with("history") || path.ends_with("checkpoint"), "{path}");
        }
    }
}

#[tokio::test]
async fn a_key_is_taken_in_either_header() {
    let keyed = Keyed::start().await;
    let secret = keyed.secret(Scope::Read);
    let url = format!("{}/threads/search", keyed.served.base);
    let ask = || keyed.served.client.post(&url).json(&json!({}));
    let good = [
        ask().bearer_auth(secret),
        ask().header("x-api-key", secret),
        ask().header("authorization", format!("bearer {secret}")),
    ];
    for request in good {
        assert_eq!(request.send().await.unwrap().status(), 200);
    }
    let other = keyed.secret(Scope::Operate);
    let cut = &secret[..secret.len() - 1];
    let bad = [
        ask(),
        ask().bearer_auth(cut),
        ask().bearer_auth(format!("{secret}0")),
        ask().header("authorization", format!("Basic {secret}")),
        ask().bearer_auth(secret).header("x-api-key", other),
        ask().query(&[("api_key", secret)]),
    ];
    for request in bad {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 401);
        assert_eq!(response.headers()["content-type"], "application/problem+json");
    }
}

#[tokio::test]
async fn keys_are_made_and_revoked_while_the_server_runs_and_the_last_one_opens_nothing() {
    let keyed = Keyed::start().await;
    let body = json!({"name": "ci", "scopes": ["read"]});
    let (status, made) = keyed.post(Scope::Admin, "/keys", body).await;
    assert_eq!(status, 201, "{made}");
    let secret = made["secret"].as_str().unwrap();
    let url = format!("{}/threads/search", keyed.served.base);
    let ask = |secret: &str| keyed.served.client.post(&url).bearer_auth(secret).json(&json!({}));
    assert_eq!(ask(secret).send().await.unwrap().status(), 200);
    let (_, listed) = keyed.get(Scope::Admin, "/keys").await;
    assert_eq!(listed.as_array().unwrap().len(), 5);
    assert!(!listed.to_string().contains(secret));
    assert!(!listed.to_string().contains("sha256"));
    let path = format!("/keys/{}", made["key"]["id"].as_str().unwrap());
    let (status, revoked) = keyed.send(Scope::Admin, "DELETE", &path, None).await;
    assert_eq!((status, revoked["revoked_ms"].is_u64()), (200, true), "{revoked}");
    assert_eq!(ask(secret).send().await.unwrap().status(), 401);
    for key in listed.as_array().unwrap() {
        let path = format!("/keys/{}", key["id"].as_str().unwrap());
        keyed.send(Scope::Admin, "DELETE", &path, None).await;
    }
    assert_eq!(keyed.served.get("/threads/x").await.0, 401);
    assert_eq!(keyed.get(Scope::Admin, "/keys").await.0, 401);
    for bad in [json!({"name": "", "scopes": ["read"]}), json!({"name": "x", "scopes": []})] {
        let keyed = Keyed::start().await;
        assert_eq!(keyed.post(Scope::Admin, "/keys", bad).await.0, 422);
    }
}

#[tokio::test]
async fn the_store_has_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.db");
    let agent = agent(settings(&format!("sqlite:{}", file.display()))).await;
    let secret = key(&agent, &[Scope::Admin]).await;
    let kept = agent.documents().list("api_keys", 9).await.unwrap();
    let shown = format!("{kept:?}");
    let random = secret.rsplit('_').next().unwrap();
    assert!(shown.contains("sha256") && !shown.contains(random), "{shown}");
    assert_eq!(random.len(), 64, "256 random bits");
    drop(agent);
    let paths = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
    for path in paths.filter(|path| path.is_file()) {
        let bytes = std::fs::read(path).unwrap();
        assert!(!String::from_utf8_lossy(&bytes).contains(random));
    }
}

#[tokio::test]
async fn only_an_approver_consents_whatever_the_route() {
    let keyed = Keyed::start().await;
    let resume = json!({"assistant_id": "optimize", "command": {"resume": "approve"}});
    let never = json!({"assistant_id": "optimize", "input": {"goal": GOAL}, "context": {"approval": "never"}});
    let hidden =
        json!({"assistant_id": "optimize", "config": {"configurable": {"approval": "never"}}});
    let cron = json!({"assistant_id": "optimize", "schedule": "* * * * *", "context": {"approval": "never"}});
    let assistant = json!({"graph_id": "optimize", "context": {"approval": "never"}});
    let workflow = json!({"instance_id": "chat", "instance_type": "vllm", "requires_approval": false, "auto_rollout": true});
    let task = json!({"task_id": "1", "task_type": "tune_inference", "parameters": {"deployment": "chat", "approved": true}});
    for (path, body) in [
        ("/optimize", json!({"goal": GOAL, "approved": true})),
        ("/api/v1/workflows", workflow),
        ("/task", task),
        ("/runs/wait", resume.clone()),
        ("/runs/batch", json!([resume])),
        ("/runs/stream", never.clone()),
        ("/runs", never),
        ("/runs", hidden),
        ("/runs/crons", cron),
        ("/assistants", assistant),
    ] {
        let (status, problem) = keyed.post(Scope::Operate, path, body).await;
        let seed = path.starts_with("/api/v1/");
        let (field, word, text) = if seed {
            ("error", "http_403", "message")
        } else {
            ("code", "api.forbidden", "detail")
        };
        assert_eq!((status, &problem[field]), (403, &word.into()), "{path} {problem}");
        assert!(problem[text].as_str().unwrap().contains("approve"), "{problem}");
    }
    // What is nested too deeply to be looked through is not passed on.
    let deep = format!("{}1{}", r#"{"a":"#.repeat(200), "}".repeat(200));
    let body = format!(
        r#"{{"assistant_id": "optimize", "context": {{"approval": "never"}}, "x": {deep}}}"#
    );
    let url = format!("{}/runs/wait", keyed.served.base);
    let request = keyed.served.client.post(url).bearer_auth(keyed.secret(Scope::Operate));
    let request = request.header("content-type", "application/json").body(body);
    assert_eq!(request.send().await.unwrap().status(), 400);
    let (_, threads) = keyed.post(Scope::Read, "/threads/search", json!({})).await;
    assert_eq!(threads, json!([]), "nothing was started");
    let both = json!({"goal": GOAL, "approved": true});
    assert_eq!(keyed.post(Scope::Admin, "/optimize", both).await.0, 202);
}

#[tokio::test]
async fn a_rollout_names_the_key_that_approved_it() {
    let keyed = Keyed::start().await;
    let (status, made) = keyed.post(Scope::Operate, "/optimize", json!({"goal": GOAL})).await;
    assert_eq!(status, 202, "{made}");
    let path = format!("/optimize/{}", made["thread_id"].as_str().unwrap());
    let mut approved = false;
    let result = loop {
        let (_, result) = keyed.get(Scope::Read, &path).await;
        match result["status"].as_str().unwrap() {
            "running" => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
            "interrupted" if !approved => {
                let approve = format!("{path}/approve");
                assert_eq!(keyed.post(Scope::Operate, &approve, json!({})).await.0, 403);
                assert_eq!(keyed.post(Scope::Approve, &approve, json!({})).await.0, 202);
                approved = true;
            }
            _ => break result,
        }
    };
    let by = result["rollout"]["approved_by"].as_str().unwrap();
    assert!(by.starts_with("approve (key "), "{result}");
}

#[tokio::test]
async fn a_rollout_names_the_key_that_approved_it_in_langgraphs_words() {
    let agent = agent(settings("memory:")).await;
    let secret = key(&agent, &[Scope::Operate, Scope::Approve, Scope::Read]).await;
    let served = Served::by(agent, SecurityOptions::default()).await;
    let post = async |path: &str, body: Value| {
        let request = served.client.post(format!("{}{path}", served.base)).bearer_auth(&secret);
        let response = request.json(&body).send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        response.json::<Value>().await.unwrap()
    };
    let thread = post("/threads", json!({})).await;
    let runs = format!("/threads/{}/runs/wait", thread["thread_id"].as_str().unwrap());
    let asked = post(&runs, json!({"assistant_id": "optimize", "input": {"goal": GOAL}})).await;
    assert!(asked["__interrupt__"].is_array(), "{asked}");
    let answer =
        json!({"assistant_id": "optimize", "command": {"resume": "approve"}, "by": "someone"});
    post(&runs, answer).await;
    let request = served.client.get(format!("{}/rollout/history", served.base));
    let history: Value = request.bearer_auth(&secret).send().await.unwrap().json().await.unwrap();
    let by = history[0]["provenance"]["approved_by"].as_str().unwrap_or_default();
    assert!(by.starts_with("operate+approve+read (key "), "{history}");
}

#[tokio::test]
async fn with_a_key_others_may_reach_the_server() {
    let agent = agent(settings("memory:")).await;
    let secret = key(&agent, &[Scope::Read]).await;
    let listen = "0.0.0.0:0".parse().unwrap();
    let options = ServerOptions {
        listen,
        config: None,
        mcp: McpAccess::default(),
        security: SecurityOptions::default(),
    };
    let server = Server::bind(agent, options).await.unwrap();
    let url = format!("http://127.0.0.1:{}/threads/search", server.listen().port());
    let serving = tokio::spawn(async move { server.serve(std::future::pending()).await.unwrap() });
    let client = reqwest::Client::new();
    // By whatever name: without cookies a name that is rebound brings no key.
    let ask = || client.post(&url).header("host", "perf.example.org").json(&json!({}));
    assert_eq!(ask().send().await.unwrap().status(), 401);
    assert_eq!(ask().bearer_auth(&secret).send().await.unwrap().status(), 200);
    serving.abort();
}

#[tokio::test]
async fn a_revoked_key_is_none_when_a_server_starts() {
    let agent = agent(settings("memory:")).await;
    key(&agent, &[Scope::Admin]).await;
    let keys = Keys::open(agent.documents().clone()).await.unwrap();
    let id = keys.list()[0].id.clone();
    keys.revoke(&id, Millis(5)).await.unwrap();
    assert_eq!(keys.revoke(&id, Millis(9)).await.unwrap().revoked_ms, Some(Millis(5)));
    assert_eq!(keys.revoke("nobody", Millis(9)).await.unwrap_err().code(), "api.unknown_key");
    let listen = "0.0.0.0:0".parse().unwrap();
    let options = ServerOptions {
        listen,
        config: None,
        mcp: McpAccess::default(),
        security: SecurityOptions::default(),
    };
    let refused = Server::bind(agent.clone(), options).await.err().unwrap();
    assert_eq!(refused.code(), "api.not_loopback");
    // On this machine it goes on without.
    let served = Served::by(agent, SecurityOptions::default()).await;
    assert_eq!(served.get("/keys").await.0, 200);
}
