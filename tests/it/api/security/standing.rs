//! Consent that is kept somewhere: whoever has no `approve` can neither use it nor turn it to something else.

use std::time::Duration;

use perf_agent::agent::Agent;
use perf_agent::api::{Scope, SecurityOptions};
use serde_json::{Value, json};

use crate::api::support::{GOAL, Keyed, Served, agent, key, settings};

/// A day that seldom comes.
const SELDOM: &str = "0 0 29 2 *";

fn id(made: &Value, field: &str) -> String {
    made[field].as_str().unwrap_or_else(|| panic!("{made}")).to_owned()
}

fn refused(what: &str, (status, problem): &(u16, Value)) {
    // LangGraph's routes have the code in a header, which the client looks at.
    assert_eq!(*status, 403, "{what}: {problem}");
    assert!(problem["detail"].as_str().unwrap().contains("approve"), "{what}: {problem}");
}

/// The rollouts that there were.
async fn rollouts(keyed: &Keyed) -> Vec<Value> {
    keyed.get(Scope::Read, "/rollout/history").await.1.as_array().unwrap().clone()
}

#[tokio::test]
async fn an_assistant_that_consents_is_run_and_changed_by_approvers_only() {
    let keyed = Keyed::start().await;
    for given in [
        json!({"graph_id": "optimize", "context": {"approval": "never"}}),
        json!({"graph_id": "optimize", "config": {"configurable": {"approval": "never"}}}),
    ] {
        let (_, made) = keyed.post(Scope::Admin, "/assistants", given).await;
        let assistant = id(&made, "assistant_id");
        let run = json!({"assistant_id": assistant, "input": {"goal": GOAL}});
        for path in ["/runs/wait", "/runs", "/runs/stream"] {
            refused(path, &keyed.post(Scope::Operate, path, run.clone()).await);
        }
        let batch = json!([{"assistant_id": "optimize", "input": {"goal": GOAL}}, run]);
        refused("batch", &keyed.post(Scope::Operate, "/runs/batch", batch).await);
        let late = json!({"assistant_id": assistant, "input": {"goal": GOAL}, "after_seconds": 1});
        refused("later", &keyed.post(Scope::Operate, "/runs", late).await);
        let cron = json!({"assistant_id": assistant, "schedule": SELDOM, "input": {"goal": GOAL}});
        refused("cron", &keyed.post(Scope::Operate, "/runs/crons", cron).await);
        let path = format!("/assistants/{assistant}");
        for patch in [json!({"graph_id": "watch"}), json!({"name": "mine"}), json!({"context": {}})]
        {
            refused("patch", &keyed.send(Scope::Operate, "PATCH", &path, Some(patch)).await);
        }
        let plain = json!({"context": {}, "config": {}});
        let (status, second) = keyed.send(Scope::Admin, "PATCH", &path, Some(plain)).await;
        assert_eq!((status, &second["version"]), (200, &json!(2)), "{second}");
        let latest = format!("{path}/latest");
        refused("back", &keyed.post(Scope::Operate, &latest, json!({"version": 1})).await);
        assert_eq!(keyed.post(Scope::Operate, &latest, json!({"version": 2})).await.0, 200);
        assert_eq!(keyed.post(Scope::Admin, &latest, json!({"version": 1})).await.0, 200);
    }
    let (_, threads) = keyed.post(Scope::Read, "/threads/search", json!({})).await;
    assert_eq!(threads, json!([]), "nothing was made");
}

#[tokio::test]
async fn a_cron_that_consents_is_changed_by_approvers_only() {
    let keyed = Keyed::start().await;
    let goal = json!({"goal": GOAL});
    for given in [
        json!({"assistant_id": "optimize", "schedule": SELDOM, "input": goal, "context": {"approval": "never"}}),
        json!({"assistant_id": "optimize", "schedule": SELDOM, "command": {"resume": "approve"}}),
    ] {
        let (status, cron) = keyed.post(Scope::Admin, "/runs/crons", given).await;
        assert_eq!(status, 200, "{cron}");
        let path = format!("/runs/crons/{}", id(&cron, "cron_id"));
        for patch in [
            json!({"input": {"goal": "p95 TTFT under 1 ms"}}),
            json!({"assistant_id": "watch"}),
            json!({"schedule": "* * * * *"}),
            json!({"enabled": true}),
        ] {
            refused("patch", &keyed.send(Scope::Operate, "PATCH", &path, Some(patch)).await);
        }
        assert_eq!(keyed.get(Scope::Read, &path).await.1, cron, "it is what it was");
        let patch = Some(json!({"schedule": "0 0 30 6 *"}));
        assert_eq!(keyed.send(Scope::Admin, "PATCH", &path, patch).await.0, 200);
        // Taking away is no consent.
        assert_eq!(keyed.send(Scope::Operate, "DELETE", &path, None).await.0, 204);
    }
    let (_, plain) = keyed
        .post(
            Scope::Operate,
            "/runs/crons",
            json!({"assistant_id": "optimize", "schedule": SELDOM, "input": goal}),
        )
        .await;
    let path = format!("/runs/crons/{}", id(&plain, "cron_id"));
    let patch = Some(json!({"enabled": false}));
    assert_eq!(keyed.send(Scope::Operate, "PATCH", &path, patch).await.0, 200);
}

/// Lets `thread` come to rest; the state of the thread then.
async fn rested(keyed: &Keyed, thread: &str) -> Value {
    loop {
        let (_, found) = keyed.get(Scope::Read, &format!("/threads/{thread}")).await;
        if found["status"] != "busy" {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Id of the state of `thread` in which `deploy` comes next.
async fn before_deploy(keyed: &Keyed, thread: &str) -> String {
    let path = format!("/threads/{thread}/history");
    let (_, states) = keyed.post(Scope::Read, &path, json!({"limit": 1000})).await;
    let found = states.as_array().unwrap().iter().find(|s| s["next"] == json!(["deploy"]));
    id(found.unwrap_or_else(|| panic!("{states}")), "checkpoint_id")
}

#[tokio::test]
async fn a_copy_or_an_earlier_state_of_an_approved_run_is_not_approved() {
    let keyed = Keyed::start().await;
    let (_, made) = keyed.post(Scope::Admin, "/threads", json!({})).await;
    let thread = id(&made, "thread_id");
    let never = json!({"assistant_id": "optimize", "input": {"goal": GOAL}, "context": {"approval": "never"}});
    keyed.post(Scope::Admin, &format!("/threads/{thread}/runs"), never).await;
    rested(&keyed, &thread).await;
    let done = rollouts(&keyed).await;
    assert_eq!(done.len(), 1, "{done:?}");
    let by = done[0]["provenance"]["approved_by"].as_str().unwrap();
    assert!(by.starts_with("admin (key ") && by.ends_with("(approval: never)"), "{by}");
    let (_, copy) = keyed.post(Scope::Operate, &format!("/threads/{thread}/copy"), json!({})).await;
    for thread in [id(&copy, "thread_id"), thread] {
        let checkpoint = before_deploy(&keyed, &thread).await;
        let again = json!({"assistant_id": "optimize", "checkpoint_id": checkpoint});
        let path = format!("/threads/{thread}/runs/wait");
        let (status, answer) = keyed.post(Scope::Operate, &path, again).await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!(answer["__error__"]["error"], "tools.approval_missing", "{answer}");
        assert_eq!(rollouts(&keyed).await.len(), 1);
    }
}

#[tokio::test]
async fn whoever_approves_beforehand_is_named() {
    let keyed = Keyed::start().await;
    let body = json!({"goal": GOAL, "approved": true});
    let (status, made) = keyed.post(Scope::Admin, "/optimize", body).await;
    assert_eq!(status, 202, "{made}");
    rested(&keyed, &id(&made, "thread_id")).await;
    let (_, result) =
        keyed.get(Scope::Read, &format!("/optimize/{}", id(&made, "thread_id"))).await;
    let by = result["rollout"]["approved_by"].as_str().unwrap();
    assert!(by.starts_with("admin (key ") && by.ends_with("(approval: never)"), "{result}");
}

#[tokio::test]
async fn the_journal_names_the_key_that_cancels_and_lets_go_on() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/graphs");
    let prompts = Some(folder.join("prompts"));
    let settings =
        perf_agent::agent::Settings { graphs: Some(folder), prompts, ..settings("memory:") };
    let agent = agent(settings).await;
    let secret = key(&agent, &[Scope::Operate, Scope::Read]).await;
    let served = Served::by(agent.clone(), SecurityOptions::default()).await;
    let post = async |path: String, body: Value| {
        let request = served.client.post(format!("{}{path}", served.base)).bearer_auth(&secret);
        request.json(&body).send().await.unwrap().json::<Value>().await.unwrap()
    };
    let thread = id(&post("/threads".to_owned(), json!({})).await, "thread_id");
    let path = format!("/threads/{thread}/runs/wait");
    let held = json!({"assistant_id": "hitl", "input": {"n": 1}, "interrupt_before": ["ask"]});
    post(path.clone(), held).await;
    post(path.clone(), json!({"assistant_id": "hitl"})).await;
    // It asks, and a new input goes on without the answer.
    post(path, json!({"assistant_id": "trivial", "input": {"n": 1}})).await;
    let thread = perf_agent::base::ThreadId(thread);
    let mut journal = agent.follow(&thread, 0);
    let mut by = Vec::new();
    while let Some(entry) = journal.try_next().await.unwrap() {
        if matches!(entry.kind.as_str(), "RESUMED" | "RUN_CANCELLED") {
            by.push((entry.kind.clone(), entry.data["by"].as_str().unwrap_or_default().to_owned()));
        }
    }
    let kinds: Vec<&str> = by.iter().map(|(kind, _)| kind.as_str()).collect();
    assert!(kinds.contains(&"RESUMED"), "{by:?}");
    assert!(
        by.iter().all(|(_, by)| by.starts_with("operate+read (key ") || by == "a newer run"),
        "{by:?}"
    );
}

/// Sets when the crons of the store are due.
async fn make_due(agent: &Agent) {
    for kept in agent.documents().list("langgraph.crons", 9).await.unwrap() {
        let mut cron = kept.value;
        cron["next"] = json!(1);
        let put = agent.documents().put("langgraph.crons", &kept.key, Some(kept.version), cron);
        put.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_crons_consent_is_its_makers_and_for_the_assistant_that_they_saw() {
    for changed in [false, true] {
        let agent = agent(settings("memory:")).await;
        let secret = key(&agent, &[Scope::Admin]).await;
        let served = Served::by(agent.clone(), SecurityOptions::default()).await;
        let post = async |served: &Served, path: &str, body: Value| {
            let request = served.client.post(format!("{}{path}", served.base));
            let response = request.bearer_auth(&secret).json(&body).send().await.unwrap();
            assert_eq!(response.status(), 200, "{path}");
            response.json::<Value>().await.unwrap()
        };
        let assistant = post(&served, "/assistants", json!({"graph_id": "optimize"})).await;
        let assistant = id(&assistant, "assistant_id");
        let cron = json!({
            "assistant_id": assistant, "schedule": SELDOM, "input": {"goal": GOAL},
            "context": {"approval": "never"}, "on_run_completed": "keep",
        });
        post(&served, "/runs/crons", cron).await;
        if changed {
            let url = format!("{}/assistants/{assistant}", served.base);
            let patch = served.client.patch(url).bearer_auth(&secret);
            let patch = patch.json(&json!({"name": "another"})).send().await.unwrap();
            assert_eq!(patch.status(), 200);
        }
        served.stop().await;
        make_due(&agent).await;
        // What was missed is made up for when a server starts.
        let served = Served::by(agent.clone(), SecurityOptions::default()).await;
        let get = async |path: &str| {
            let request = served.client.get(format!("{}{path}", served.base)).bearer_auth(&secret);
            request.send().await.unwrap().json::<Value>().await.unwrap()
        };
        loop {
            let crons = agent.documents().list("langgraph.crons", 9).await.unwrap();
            if crons[0].value["next"] != json!(1) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        if changed {
            served.stop().await;
            assert!(agent.threads(9).await.unwrap().is_empty(), "it was refused");
            continue;
        }
        let by = loop {
            let history = get("/rollout/history").await;
            if let Some(by) = history[0]["provenance"]["approved_by"].as_str() {
                break by.to_owned();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        assert!(by.starts_with("admin (key ") && by.ends_with("(approval: never)"), "{by}");
        served.stop().await;
    }
}
