//! A deployment that somebody else runs: nothing is tried there, and what they would do is written down.

use serde_json::{Value, json};

use super::support::run;

#[test]
fn what_cannot_be_tried_is_advised_with_the_commands_to_do_it() {
    let folder = tempfile::tempdir().unwrap();
    let config = "deployments: [{ launcher: external, name: theirs, engine: vllm, served_model: m, \
                  endpoints: ['http://127.0.0.1:9'], config: { max_num_seqs: 4 } }]";
    std::fs::write(folder.path().join("theirs.yaml"), config).unwrap();
    let proposal = json!({
        "name": "more seats", "deployment": "theirs", "config": {"max_num_seqs": 64},
        "change": {"max_num_seqs": {"from": 4, "to": 64}}, "rationale": "it queues", "prediction": null,
    });
    let objective = json!({"deployment": "theirs", "targets": [], "keep": [], "improve": "ttft"});
    let args = json!({"proposal": proposal, "objective": objective}).to_string();
    let call = ["--config", "theirs.yaml", "tools", "call", "run_trial", &args, "--yes"];
    let ended = run(folder.path(), &call);
    assert_eq!(ended.code, 0, "{}", ended.err);
    let trial: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!((&trial["outcome"], &trial["measured"]), (&json!("advised"), &Value::Null));
    let advice = trial["reasons"][0].as_str().unwrap();
    assert!(advice.contains("max_num_seqs: 4 → 64"), "{advice}");
    assert!(advice.contains("+ --max-num-seqs 64") && advice.contains("vllm serve"), "{advice}");
}
