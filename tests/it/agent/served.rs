//! One agent, several runs: what it says of a deployment is what serves now.

use perf_agent::agent::Agent;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::api::support::{GOAL, settings};

async fn config_listed(agent: &Agent) -> Value {
    let listed = agent.call_tool("list_deployments", json!({}), false).await.unwrap();
    listed["deployments"][0]["deployment"]["config"].clone()
}

#[tokio::test]
async fn after_a_rollout_the_new_config_is_the_one_that_is_listed_and_compared_with() {
    let agent = Agent::shared(settings("memory:"), "served").await.unwrap();
    let declared = config_listed(&agent).await;
    let thread = agent.create_thread().await.unwrap();
    let input = json!({"goal": GOAL});
    agent.start(&thread, "optimize", input, true, None).await.unwrap();
    agent.run_to_rest(&thread, &CancellationToken::new()).await.unwrap();

    let result = serde_json::to_value(agent.result(&thread).await.unwrap()).unwrap();
    assert_eq!(result["status"], "improved", "{result}");
    let served = config_listed(&agent).await;
    assert_ne!(served, declared);
    for (knob, change) in result["change"].as_object().unwrap() {
        assert_eq!(served[knob], change["to"], "{knob}");
    }
}
