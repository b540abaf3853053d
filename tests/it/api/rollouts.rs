//! What a person orders of a rollout that goes on, through the server and through the command line's door.

use perf_agent::agent::Agent;
use serde_json::{Value, json};

use super::support::{GOAL, Served, settings};

/// Starts an approved run and pauses its rollout as soon as a share of users has the new version: thread and answer.
pub async fn paused(served: &Served) -> (String, Value) {
    let thread = served.optimize(json!({"goal": GOAL, "approved": true})).await;
    let id = loop {
        let (_, open) = served.get("/rollout/status").await;
        if open[0]["state"]["name"] == "observing" {
            break open[0]["id"].as_str().unwrap().to_owned();
        }
        let (_, result) = served.get(&format!("/optimize/{thread}")).await;
        assert_eq!(result["status"], "running", "{result}");
    };
    let (status, paused) = served.post(&format!("/rollout/{id}/pause"), json!({})).await;
    assert_eq!(status, 200, "{paused}");
    (thread, paused)
}

fn path(status: &Value, order: &str) -> String {
    format!("/rollout/{}/{order}", status["id"].as_str().unwrap())
}

fn happened(record: &Value, what: &str) -> bool {
    let transitions = record["transitions"].as_array().unwrap();
    transitions.iter().any(|transition| transition["why"].as_str().unwrap().contains(what))
}

#[tokio::test]
async fn a_paused_rollout_keeps_its_share_until_it_is_resumed() {
    let served = Served::start().await;
    let (thread, paused) = paused(&served).await;
    assert_eq!(paused["paused"], "paused by tester", "{paused}");
    for _ in 0..40 {
        let (_, open) = served.get("/rollout/status").await;
        let record = &open[0];
        assert_eq!(record["percent_in_force"], paused["canary_percent"]);
        assert_eq!(record["hold"]["kind"], "paused");
        let (_, result) = served.get(&format!("/optimize/{thread}")).await;
        assert_eq!(result["status"], "running", "{result}");
    }
    let stale = format!("{}?generation=0", path(&paused, "resume"));
    let (status, problem) = served.post(&stale, json!({})).await;
    assert_eq!((status, &problem["code"]), (409, &json!("tools.order_refused")), "{problem}");

    let (status, resumed) = served.post(&path(&paused, "resume"), json!({})).await;
    assert_eq!((status, &resumed["paused"]), (200, &Value::Null), "{resumed}");
    let done = served.rested(&thread).await;
    assert_eq!(done["status"], "improved", "{done}");
    let (_, history) = served.get("/rollout/history").await;
    assert!(
        happened(&history[0], "paused by tester") && happened(&history[0], "resumed by tester")
    );
    for order in ["pause", "resume", "promote"] {
        let (status, problem) = served.post(&path(&paused, order), json!({})).await;
        assert_eq!((status, &problem["code"]), (409, &json!("tools.order_refused")), "{order}");
        assert_eq!(served.post(&format!("/rollout/nothing/{order}"), json!({})).await.0, 404);
    }
}

#[tokio::test]
async fn promotion_skips_the_wait_and_the_last_step_is_watched_all_the_same() {
    let served = Served::start().await;
    let (thread, paused) = paused(&served).await;
    let (status, promoted) = served.post(&path(&paused, "promote"), json!({})).await;
    assert_eq!(status, 200, "{promoted}");
    assert_eq!(promoted["steps"].as_array().unwrap().last().unwrap()["percent"], 100.0);
    let done = served.rested(&thread).await;
    let (_, history) = served.get("/rollout/history").await;
    assert!(happened(&history[0], "promoted by tester"), "{}", history[0]["transitions"]);
    assert_eq!(done["status"], "improved", "{done} {}", history[0]);
    // Everyone was watched for the bake time, and the old version stayed warm.
    assert!(happened(&history[0], "all users are served"), "{}", history[0]["transitions"]);
    assert!(happened(&history[0], "soaked without an alarm"), "{}", history[0]["transitions"]);
}

#[tokio::test]
async fn a_pause_survives_a_restart_and_both_doors_say_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", folder.path().join("runs.db").display());
    let served = Served::over(&store).await;
    let (thread, paused) = paused(&served).await;
    served.stop().await;

    let by_hand = Agent::shared(settings(&store), "serve").await.unwrap();
    let args = json!({"rollout": paused["id"]});
    let again = by_hand.call_tool("pause_rollout", args, true).await.unwrap();
    // Requests that were under way end, and are counted; nobody is moved.
    for field in ["id", "state", "paused", "canary_percent", "proposal", "finished"] {
        assert_eq!(again[field], paused[field], "{field}");
    }
    assert_eq!(again["steps"][0]["started"], paused["steps"][0]["started"]);
    drop(by_hand);

    let served = Served::over(&store).await;
    let (_, open) = served.get("/rollout/status").await;
    assert_eq!(open[0]["hold"]["kind"], "paused", "{open}");
    let (status, resumed) = served.post(&path(&paused, "resume"), json!({})).await;
    assert_eq!(status, 200, "{resumed}");
    assert_eq!(served.rested(&thread).await["status"], "improved");
}

#[tokio::test]
async fn a_paused_rollout_can_be_taken_back() {
    let served = Served::start().await;
    let (thread, _) = paused(&served).await;
    let (status, back) = served.post("/rollout/rollback", json!({})).await;
    assert_eq!((status, &back["state"]["name"]), (200, &json!("rolled_back")), "{back}");
    let done = served.rested(&thread).await;
    assert_eq!(done["status"], "rolled_back", "{done}");
}

/// The running config with other seats.
async fn with_seats(served: &Served, seats: u64) -> Value {
    let (_, all) = served.get("/deployments").await;
    let mut config = all[0]["deployment"]["config"].clone();
    config["max_num_seqs"] = json!(seats);
    config
}

#[tokio::test]
async fn a_config_of_ones_own_is_tried_asked_about_and_rolled_out() {
    let served = Served::start().await;
    let config = with_seats(&served, 64).await;
    let body = json!({"config": config, "goal": GOAL});
    let (status, accepted) = served.post("/rollout/start", body).await;
    assert_eq!(status, 202, "{accepted}");
    let thread = accepted["thread_id"].as_str().unwrap();
    let asked = served.rested(thread).await;
    assert_eq!(asked["status"], "interrupted", "{asked}");
    assert_eq!(asked["trials"].as_array().unwrap().len(), 1);
    assert_eq!(asked["trials"][0]["proposal"]["config"], config);
    assert_eq!(served.post(&format!("/optimize/{thread}/approve"), json!({})).await.0, 202);
    let done = served.rested(thread).await;
    assert_eq!(done["status"], "improved", "{done}");
    let (_, history) = served.get("/rollout/history").await;
    assert_eq!(history[0]["proposal"]["config"], config);
}

#[tokio::test]
async fn a_config_that_its_trial_does_not_accept_reaches_nobody() {
    let served = Served::start().await;
    let config = with_seats(&served, 1).await;
    let body = json!({"config": config, "goal": GOAL, "approved": true});
    let (status, accepted) = served.post("/rollout/start", body).await;
    assert_eq!(status, 202, "{accepted}");
    let done = served.rested(accepted["thread_id"].as_str().unwrap()).await;
    assert_eq!(done["status"], "no_change", "{done}");
    assert_eq!(done["trials"][0]["outcome"], "rejected", "{done}");
    assert_eq!(served.get("/rollout/history").await.1, json!([]));
}

#[tokio::test]
async fn what_cannot_be_rolled_out_is_refused_before_anything_runs() {
    let served = Served::start().await;
    let (_, all) = served.get("/deployments").await;
    let running = all[0]["deployment"]["config"].clone();
    let mut illegal = running.clone();
    illegal["gpu_memory_utilization"] = json!(1.5);
    let better = with_seats(&served, 64).await;
    for (body, status, code) in [
        (json!({"config": running}), 422, "api.invalid_request"),
        (json!({"config": {"colour": "red"}}), 422, "api.invalid_request"),
        (json!({}), 422, "api.invalid_body"),
        (json!({"config": illegal}), 422, "api.invalid_config"),
        (json!({"config": better, "goal": " "}), 422, "api.invalid_request"),
        (json!({"config": better, "deployment": "nothing"}), 404, "api.unknown_deployment"),
    ] {
        let (was, problem) = served.post("/rollout/start", body.clone()).await;
        assert_eq!((was, &problem["code"]), (status, &json!(code)), "{body} {problem}");
    }
    assert_eq!(served.get("/optimize/history").await.1, json!([]));
    paused(&served).await;
    let (status, problem) = served.post("/rollout/start", json!({"config": better})).await;
    assert_eq!((status, &problem["code"]), (409, &json!("api.rollout_goes_on")), "{problem}");
}

#[tokio::test]
async fn a_rollout_of_another_fleet_is_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", folder.path().join("runs.db").display());
    let served = Served::over(&store).await;
    let (_, paused) = paused(&served).await;
    served.stop().await;
    let elsewhere = Agent::shared(settings(&store), "elsewhere").await.unwrap();
    for tool in ["abort_rollout", "resume_rollout", "rollout_status"] {
        let called = elsewhere.call_tool(tool, json!({"rollout": paused["id"]}), true).await;
        let problem = perf_agent::base::Coded::problem(&called.unwrap_err());
        assert_eq!(problem.code, "tools.unknown_rollout", "{tool}");
    }
}
