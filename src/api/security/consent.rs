//! What in a body consents to an effect on users, or answers a question: that needs the scope `approve` on every route.

use serde_json::{Map, Value};

/// Whether a body does. It is read more strictly than the handlers read it: what it does not know cannot lift anything.
pub(super) fn consents(body: &Value) -> bool {
    match body {
        Value::Array(items) => items.iter().any(consents),
        Value::Object(fields) => {
            // `optimize`: approved beforehand. Runs: the answer to a question, or a change of the state by hand.
            let approved = fields.get("approved").is_some_and(|value| *value != Value::Bool(false));
            // The seed's workflows: nobody is asked if both say so.
            let given = |name: &str, asking: bool| {
                fields.get(name).is_some_and(|value| *value != Value::Bool(asking))
            };
            let unasked = given("requires_approval", true) && given("auto_rollout", false);
            // An orchestrator's task has its fields one level down.
            let task = fields.get("parameters").is_some_and(consents);
            let command = fields.get("command").is_some_and(|command| !command.is_null());
            let gives = |name: &&str| fields.get(*name).is_some_and(lifts_approval);
            approved || unasked || task || command || ["context", "config"].iter().any(gives)
        }
        _ => false,
    }
}

/// The same of fields.
pub(in crate::api) fn lifts(fields: &Map<String, Value>) -> bool {
    fields
        .iter()
        .any(|(name, value)| (name == "approval" && value != "ask") || lifts_approval(value))
}

/// Whether a graph's `approval` is set to anything but `ask`, at whatever depth.
fn lifts_approval(value: &Value) -> bool {
    match value {
        Value::Object(fields) => lifts(fields),
        Value::Array(items) => items.iter().any(lifts_approval),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn consent_is_found_wherever_it_hides() {
        for body in [
            json!({"goal": "x", "approved": true}),
            json!({"command": {"resume": "approve"}}),
            json!({"command": {"goto": "deploy"}}),
            json!({"context": {"approval": "never"}}),
            json!({"config": {"configurable": {"approval": "never"}}}),
            json!({"task_id": "1", "parameters": {"approved": true}}),
            json!({"requires_approval": false, "auto_rollout": true}),
            json!({"requires_approval": "no", "auto_rollout": 1}),
            json!([{"input": {}}, {"context": {"approval": "never"}}]),
        ] {
            assert!(consents(&body), "{body}");
        }
        for body in [
            json!({"goal": "x", "approved": false}),
            json!({"input": {"approval": "never"}, "command": null, "context": {"approval": "ask"}}),
            json!({"task_id": "1", "parameters": {"approved": false, "goal": "x"}}),
            json!({"requires_approval": true, "auto_rollout": true}),
            json!({"requires_approval": false, "auto_rollout": false}),
            json!(null),
        ] {
            assert!(!consents(&body), "{body}");
        }
    }
}
