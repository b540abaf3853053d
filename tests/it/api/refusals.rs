//! What is refused, and how it is said.

use perf_agent::agent::Agent;
use perf_agent::api::{McpAccess, SecurityOptions, Server, ServerOptions};
use perf_agent::base::Coded;
use serde_json::{Value, json};

use super::support::{GOAL, Served, settings};

#[tokio::test]
async fn an_unknown_thread_is_404_on_every_route() {
    let served = Served::start().await;
    let run = json!({"assistant_id": "watch", "input": {"goal": GOAL}});
    for (status, problem) in [
        served.get("/optimize/nobody").await,
        served.post("/optimize/nobody/approve", json!({})).await,
        served.post("/optimize/nobody/reject", json!({})).await,
    ] {
        assert_eq!(status, 404, "{problem}");
        assert!(problem["code"].as_str().unwrap().ends_with(".unknown_thread"), "{problem}");
    }
    let nobody = "/threads/00000000-0000-0000-0000-000000000001";
    for (status, problem) in [
        served.get(&format!("{nobody}/state")).await,
        served.post(&format!("{nobody}/runs/wait"), run.clone()).await,
        served.post(&format!("{nobody}/runs/stream"), run.clone()).await,
    ] {
        assert_eq!(status, 404, "{problem}");
        assert!(problem["detail"].as_str().unwrap().ends_with("not found"), "{problem}");
    }
    assert_eq!(served.post("/threads/nobody/runs/wait", run).await.0, 422);
}

#[tokio::test]
async fn a_refusal_is_a_problem_document_with_a_stable_code() {
    let served = Served::start().await;
    let url = format!("{}/nowhere", served.base);
    let response = served.client.get(url).send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let problem: Value = response.json().await.unwrap();
    assert_eq!(problem["code"], "api.unknown_route");
    assert_eq!(problem["status"], 404);
    assert_eq!(problem["title"], "Not Found");
    let (status, problem) = served.post("/health", json!({})).await;
    assert_eq!((status, &problem["code"]), (405, &"api.method_not_allowed".into()));
}

#[tokio::test]
async fn a_bad_body_is_422_no_json_400_and_a_huge_one_413() {
    let served = Served::start().await;
    for body in
        [json!({}), json!({"goal": 5}), json!({"goal": "x", "aproved": true}), json!({"goal": " "})]
    {
        let (status, problem) = served.post("/optimize", body.clone()).await;
        assert_eq!(status, 422, "{body} {problem}");
        assert!(problem["code"].as_str().unwrap().starts_with("api.invalid_"), "{problem}");
    }
    let raw = |body: String| {
        let request = served.client.post(format!("{}/optimize", served.base));
        request.header("content-type", "application/json").body(body).send()
    };
    assert_eq!(raw("{".to_owned()).await.unwrap().status(), 400);
    let huge = format!(r#"{{"goal": "{}"}}"#, "x".repeat(2 << 20));
    assert_eq!(raw(huge).await.unwrap().status(), 413);
}

#[tokio::test]
async fn a_run_that_cannot_begin_leaves_the_thread_idle() {
    let served = Served::start().await;
    let thread = served.thread().await;
    let path = format!("/threads/{thread}/runs/wait");
    for (body, status, word) in [
        (json!({"assistant_id": "nothing"}), 422, "Invalid assistant"),
        (json!({"assistant_id": "watch", "input": {}}), 422, "`goal`"),
        (
            json!({"assistant_id": "watch", "input": {"goal": GOAL}, "context": {"colour": "red"}}),
            422,
            "`colour`",
        ),
        (
            json!({"assistant_id": "watch", "input": {"goal": GOAL}, "command": {"resume": 1}}),
            422,
            "one of them",
        ),
        (json!({"assistant_id": "watch", "command": {"resume": 1}}), 409, "asks nothing"),
        (json!({"input": {}}), 422, "assistant_id"),
    ] {
        let (was, problem) = served.post(&path, body).await;
        assert_eq!(was, status, "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains(word), "{problem}");
    }
    let (status, problem) = served.post(&format!("/optimize/{thread}/approve"), json!({})).await;
    assert_eq!((status, &problem["code"]), (409, &"api.nothing_asked".into()));
    let (_, state) = served.get(&format!("/threads/{thread}")).await;
    assert_eq!(state["status"], "idle", "{state}");
}

#[tokio::test]
async fn pages_of_other_sites_and_other_names_are_refused() {
    let served = Served::start().await;
    for (header, value) in [("origin", "https://example.org"), ("host", "example.org")] {
        let request = served.client.get(format!("{}/health", served.base)).header(header, value);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 403, "{header}");
    }
}

#[tokio::test]
async fn an_address_that_others_can_reach_is_refused() {
    let agent = Agent::shared(settings("memory:"), "serve").await.unwrap();
    let listen = "0.0.0.0:0".parse().unwrap();
    let options = ServerOptions {
        listen,
        config: None,
        mcp: McpAccess::default(),
        security: SecurityOptions::default(),
    };
    let refused = Server::bind(agent, options).await.err().unwrap();
    assert_eq!(refused.code(), "api.not_loopback");
}
