//! A server that is stopped and started again.

use serde_json::json;

use super::support::{GOAL, Served};

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
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
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

    let served = Served::over(&store).await;
    let (status, _) = served.post(&format!("/optimize/{thread}/approve"), json!({})).await;
    assert_eq!(status, 202);
    assert_eq!(served.rested(&thread).await["status"], "improved");
}
