//! A goal, a person's approval, a better config.

use serde_json::json;

use super::support::{GOAL, Served};

#[tokio::test]
async fn a_goal_is_asked_about_and_once_approved_the_fleet_is_improved() {
    let served = Served::start().await;
    let thread = served.optimize(json!({"goal": GOAL})).await;
    let asked = served.rested(&thread).await;
    assert_eq!(asked["status"], "interrupted", "{asked}");
    assert!(asked["question"].as_str().unwrap().len() > 20, "{asked}");
    assert!(asked["rollout"].is_null());

    let (status, accepted) = served.post(&format!("/optimize/{thread}/approve"), json!({})).await;
    assert_eq!(status, 202, "{accepted}");
    assert_eq!(accepted["run_id"], asked["run_id"]);
    let (status, again) = served.post(&format!("/optimize/{thread}/approve"), json!({})).await;
    assert_eq!(status, 409, "{again}");
    let code = again["code"].as_str().unwrap();
    assert!(code.starts_with("runtime.interrupt_"), "{code}");

    let done = served.rested(&thread).await;
    assert_eq!(done["status"], "improved", "{done}");
    assert_eq!(done["rollout"]["status"], "done");
    let (status, late) = served.post(&format!("/optimize/{thread}/reject"), json!({})).await;
    assert_eq!((status, &late["code"]), (409, &"runtime.interrupt_stale".into()));
    let page = served.text("/metrics").await;
    assert!(page.contains(r#"perf_agent_runs{status="done"} 1"#), "{page}");
    assert!(page.contains("perf_agent_runs_started_total 1"), "{page}");
}

#[tokio::test]
async fn a_rejected_change_is_not_rolled_out() {
    let served = Served::start().await;
    let thread = served.optimize(json!({"goal": GOAL})).await;
    served.rested(&thread).await;
    served.post(&format!("/optimize/{thread}/reject"), json!({})).await;
    let done = served.rested(&thread).await;
    assert_eq!(done["status"], "no_change", "{done}");
    assert!(done["rollout"].is_null());
}

#[tokio::test]
async fn health_answers_while_a_run_keeps_a_core_busy() {
    let served = Served::start().await;
    let thread = served.optimize(json!({"goal": GOAL, "approved": true})).await;
    let mut answered_meanwhile = 0;
    loop {
        let (status, _) = served.get("/health").await;
        assert_eq!(status, 200);
        let (_, result) = served.get(&format!("/optimize/{thread}")).await;
        if result["status"] != "running" {
            assert_eq!(result["status"], "improved", "{result}");
            break;
        }
        answered_meanwhile += 1;
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert!(answered_meanwhile > 10, "{answered_meanwhile}");
}
