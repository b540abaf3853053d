//! A server that is stopped and started again.

use std::time::{Duration, Instant};

use perf_agent::api::SecurityOptions;
use serde_json::json;

use super::support::{GOAL, Served, agent, settings};

#[tokio::test]
async fn a_run_stopped_by_a_shutdown_goes_on_under_the_next_server_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", folder.path().join("runs.db").display());
    let served = Served::over(&store).await;
    let thread = served.optimize(json!({"goal": GOAL, "approved": true})).await;
    // Until it has begun in earnest.
    loop {
        let (_, state) = served.get(&format!("/threads/{thread}/state")).await;
        if state["values"]["diagnosis"].is_object() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    served.stop().await;

    let served = Served::over(&store).await;
    let done = served.rested(&thread).await;
    assert_eq!(done["status"], "improved", "{done}");
    served.stop().await;
}

#[tokio::test]
async fn a_question_is_still_open_under_the_next_server() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", folder.path().join("runs.db").display());
    let served = Served::over(&store).await;
    let thread = served.optimize(json!({"goal": GOAL})).await;
    served.rested(&thread).await;
    served.stop().await;

    let agent = agent(settings(&store)).await;
    let served = Served::by(agent.clone(), SecurityOptions::default()).await;
    // A simulated clock stands still for the person: it does not run to the day on which the question expires.
    let (stood_at, begun) = (agent.clock().now(), Instant::now());
    while begun.elapsed() < Duration::from_secs(1) {
        let (_, asked) = served.get(&format!("/optimize/{thread}")).await;
        assert_eq!(asked["status"], "interrupted", "{asked}");
    }
    assert_eq!(agent.clock().now(), stood_at);
    let (status, _) = served.post(&format!("/optimize/{thread}/approve"), json!({})).await;
    assert_eq!(status, 202);
    assert_eq!(served.rested(&thread).await["status"], "improved");
}
