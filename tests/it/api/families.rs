//! Runs that may change some knobs only, and what is recommended without running anything.

use std::collections::BTreeSet;

use perf_agent::agent::Agent;
use perf_agent::domain::Family;
use serde_json::{Value, json};

use super::support::{GOAL, Served, settings};

fn names(family: Family) -> BTreeSet<String> {
    family.knobs().iter().map(|knob| knob.name().to_owned()).collect()
}

/// Every knob that a run's proposals change.
async fn proposed(served: &Served, thread: &str) -> BTreeSet<String> {
    let (_, state) = served.get(&format!("/threads/{thread}/state")).await;
    let proposals = state["values"]["proposals"].as_array().cloned().unwrap_or_default();
    let changes = proposals.iter().filter_map(|proposal| proposal["change"].as_object());
    changes.flat_map(|change| change.keys().cloned()).collect()
}

async fn started(served: &Served, path: &str) -> String {
    let (status, accepted) = served.post(path, json!({"goal": GOAL})).await;
    assert_eq!(status, 202, "{accepted}");
    accepted["thread_id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_run_that_is_limited_to_a_family_tries_nothing_else() {
    let served = Served::start().await;
    for (path, family) in [
        ("/optimize/batch", Family::Batch),
        ("/optimize/kv-cache", Family::KvCache),
        ("/optimize/quantize", Family::Quantize),
        ("/optimize/parallelism", Family::Parallelism),
    ] {
        let thread = started(&served, path).await;
        let result = served.rested(&thread).await;
        let (changed, allowed) = (proposed(&served, &thread).await, names(family));
        assert!(changed.is_subset(&allowed), "{path}: {changed:?}");
        if family == Family::Batch {
            assert_eq!(result["status"], "interrupted", "{result}");
            assert!(!changed.is_empty());
        }
        if family == Family::Quantize {
            for trial in result["trials"].as_array().unwrap() {
                assert!(trial["reasons"].to_string().contains("may change what the model answers"));
            }
        }
    }
    // Without a limit the search takes other knobs of this fleet too.
    let thread = served.optimize(json!({"goal": GOAL})).await;
    served.rested(&thread).await;
    let changed = proposed(&served, &thread).await;
    assert!(!changed.is_subset(&names(Family::KvCache)), "{changed:?}");
}

#[tokio::test]
async fn a_trial_refuses_what_its_run_may_not_change_whoever_proposed_it() {
    let served = Served::start().await;
    let (_, all) = served.get("/deployments").await;
    let deployment = &all[0]["deployment"];
    let mut config = deployment["config"].clone();
    config["max_num_seqs"] = json!(96);
    let proposal = json!({
        "name": "seats-96", "deployment": deployment["name"], "config": config, "change": {}, "rationale": "", "prediction": null,
    });
    let objective =
        json!({"deployment": deployment["name"], "targets": [], "keep": [], "improve": "ttft"});
    let args =
        json!({"proposal": proposal, "objective": objective, "knobs": ["gpu_memory_utilization"]});
    let agent = Agent::shared(settings("memory:"), "serve").await.unwrap();
    let trial = agent.call_tool("run_trial", args, false).await.unwrap();
    assert_eq!(trial["outcome"], "rejected");
    assert!(trial["reasons"][0].as_str().unwrap().contains("max_num_seqs"), "{trial}");
    assert!(trial["measured"].is_null());
}

#[tokio::test]
async fn recommendations_are_those_of_the_tools_kept_with_their_age_until_the_config_changes() {
    let served = Served::start().await;
    let (status, listed) = served.get("/optimize/recommendations").await;
    assert_eq!(status, 200, "{listed}");
    let made = listed[0].clone();
    assert_eq!((&made["source"], &made["error"]), (&json!("simulator"), &Value::Null), "{made}");
    assert!(made["tried"].is_null());

    let agent = Agent::shared(settings("memory:"), "serve").await.unwrap();
    let look = json!({"objective": made["objective"]});
    assert_eq!(
        made["diagnosis"],
        agent.call_tool("explain_bottleneck", look, false).await.unwrap()
    );
    let args = json!({"objective": made["objective"], "diagnosis": made["diagnosis"]});
    let found = agent.call_tool("search_configs", args, false).await.unwrap();
    assert_eq!(made["recommendations"], found["shortlist"]);
    assert!(!found["shortlist"].as_array().unwrap().is_empty());

    let (_, again) = served.get("/optimize/recommendations").await;
    assert_eq!(again[0]["at_ms"], made["at_ms"]);
    assert!(again[0]["age_s"].as_f64().unwrap() >= 0.0);
    let (status, problem) = served.get("/optimize/recommendations?deployment=nothing").await;
    assert_eq!((status, &problem["code"]), (404, &json!("api.unknown_deployment")));

    let thread = served.optimize(json!({"goal": GOAL, "approved": true})).await;
    assert_eq!(served.rested(&thread).await["status"], "improved");
    let (_, later) = served.get("/optimize/recommendations").await;
    assert_ne!(later[0]["at_ms"], made["at_ms"]);
    assert_ne!(later[0]["config"], made["config"]);
    assert_eq!(later[0]["tried"]["thread_id"], *thread);
    assert_eq!(later[0]["tried"]["of_this_config"], false, "{later}");
}
