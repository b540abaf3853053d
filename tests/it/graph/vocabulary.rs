//! A small vocabulary: enough of the trade to try the loader on.

use std::collections::BTreeMap;

use perf_agent::graph::{Effect, Source, ToolFacts, Vocabulary, load};
use serde_json::{Value, json};

fn object(properties: Value, required: &[&str]) -> Value {
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

fn types() -> BTreeMap<String, Value> {
    let proposal = object(
        json!({ "deployment": { "type": "string" }, "config": { "type": "object" } }),
        &["deployment", "config"],
    );
    let trial = json!({
        "type": "object",
        "properties": { "proposal": { "$ref": "#/$defs/Proposal" }, "accepted": { "type": "boolean" } },
        "required": ["proposal", "accepted"],
        "$defs": { "Proposal": proposal },
    });
    let diagnosis = object(
        json!({
            "bottleneck": { "oneOf": [{ "enum": ["compute", "memory"] }, { "const": "none" }] },
            "confidence": { "type": "number" },
        }),
        &["bottleneck"],
    );
    let rollout = object(
        json!({ "id": { "type": "string" }, "finished": { "type": "boolean" } }),
        &["id", "finished"],
    );
    let all = [
        (
            "Objective",
            object(
                json!({ "deployment": { "type": "string" }, "slo_ms": { "type": "number" } }),
                &["deployment"],
            ),
        ),
        ("Observation", json!({ "type": "object" })),
        ("Diagnosis", diagnosis),
        ("Proposal", proposal),
        ("Trial", trial),
        ("RolloutStatus", rollout),
        ("Report", json!({ "type": "object" })),
        ("Message", json!(true)),
    ];
    all.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect()
}

/// The tools, over these types.
fn tools(types: &BTreeMap<String, Value>) -> BTreeMap<String, ToolFacts> {
    let named = |name: &str| types[name].clone();
    let tool = |name: &str, effect: Effect, args: Value, output: Value| {
        let approval = effect == Effect::Production;
        (name.to_owned(), ToolFacts { effect, approval, args, output })
    };
    let trial_or_null =
        json!({ "anyOf": [named("Trial"), { "type": "null" }], "$defs": named("Trial")["$defs"] });
    let all = [
        tool(
            "list_deployments",
            Effect::Read,
            object(json!({}), &[]),
            json!({ "type": "array", "items": { "type": "string" } }),
        ),
        tool(
            "read_metrics",
            Effect::Read,
            object(
                json!({ "deployment": { "type": "string" }, "window_s": { "type": "integer", "minimum": 10, "maximum": 3600 } }),
                &["deployment"],
            ),
            named("Observation"),
        ),
        tool("explain_bottleneck", Effect::Read, json!(true), json!(true)),
        tool("check_config", Effect::Read, json!(true), json!(true)),
        tool("simulate_config", Effect::Read, json!(true), json!(true)),
        tool(
            "run_trial",
            Effect::Stage,
            object(json!({ "proposal": named("Proposal") }), &["proposal"]),
            named("Trial"),
        ),
        tool(
            "choose_trial",
            Effect::Read,
            object(
                json!({ "objective": named("Objective"), "trials": { "type": "array" } }),
                &["objective", "trials"],
            ),
            trial_or_null,
        ),
        tool(
            "start_rollout",
            Effect::Production,
            object(json!({ "proposal": named("Proposal") }), &["proposal"]),
            named("RolloutStatus"),
        ),
        tool(
            "rollout_status",
            Effect::Read,
            object(json!({ "rollout": { "type": "string" } }), &["rollout"]),
            named("RolloutStatus"),
        ),
        tool("any", Effect::Read, json!(true), json!(true)),
        tool("count", Effect::Read, json!({ "type": "object" }), json!({ "type": "integer" })),
    ];
    all.into_iter().collect()
}

fn prompts() -> BTreeMap<String, String> {
    let all = [
        (
            "understand.md",
            "Goal: {{ goal }}{% if deployment is defined %} on {{ deployment }}{% endif %}",
        ),
        ("ask.md", "Sure about {{ goal }}?"),
        ("diagnose.md", "{{ objective.deployment }}: {{ observation | tojson }}"),
        (
            "propose.md",
            "{{ diagnosis.bottleneck }}{% for trial in trials %}\n- {{ trial.accepted }}{% endfor %}",
        ),
        ("approve.md", "Deploy {{ chosen.proposal.config | tojson }}?"),
        ("report.md", "Report to {{ context.operator }}."),
        ("slip.md", "{{ goal | uper }}{% for trial in trials %}{{ trial.acepted }}{% endfor %}"),
        ("broken.md", "{% if goal %}"),
    ];
    all.map(|(name, text)| (name.to_owned(), text.to_owned())).into_iter().collect()
}

/// The vocabulary.
pub fn vocabulary() -> Vocabulary {
    let types = types();
    let mut vocabulary = Vocabulary {
        tools: tools(&types),
        types,
        prompts: prompts(),
        circular: ["ring".to_owned()].into(),
        ..Vocabulary::default()
    };
    let text = include_str!("good/part.yaml").to_owned();
    let part = load(&Source { file: "part.yaml".to_owned(), text }, &vocabulary).unwrap();
    vocabulary.graphs.insert(part.name.clone(), part);
    vocabulary
}
