//! Schemas of answers that no type of this room has: results of the trade, which derive JSON Schema already (OpenAPI 3.1 speaks
//! it), parts of them, and shapes of LangGraph's protocol.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::measurements::PARTS;
use crate::agent::{ExternalDeployment, OptimizeResult};
use crate::domain::{Diagnosis, Objective, Observation, RolloutStatus, ServingConfig};

/// Adds them to the document.
pub(super) fn add(document: &mut Value) {
    let mut generator = SchemaSettings::draft2020_12()
        .with(|settings| settings.definitions_path = "/components/schemas".into())
        .into_generator();
    let _ = generator.subschema_for::<OptimizeResult>();
    let _ = generator.subschema_for::<RolloutStatus>();
    let _ = generator.subschema_for::<ExternalDeployment>();
    let _ = generator.subschema_for::<Observation>();
    let _ = generator.subschema_for::<Objective>();
    let _ = generator.subschema_for::<Diagnosis>();
    let _ = generator.subschema_for::<ServingConfig>();
    let Some(schemas) = document["components"]["schemas"].as_object_mut() else { return };
    let mut added: Vec<(String, Value)> = generator.take_definitions(true).into_iter().collect();
    let observation = added.iter().find(|(name, _)| name == "Observation");
    let parts = PARTS.map(|(name, fields)| {
        let known = observation.map_or(&Value::Null, |(_, schema)| &schema["properties"]);
        (name.to_owned(), part(known, fields))
    });
    added.extend(parts);
    for (name, whole) in [("CronFields", "Cron"), ("ThreadFields", "Thread")] {
        added.push((name.to_owned(), some_fields(schemas.get(whole))));
    }
    for (name, one) in [
        ("Observations", "SomeObservation"),
        ("Crons", "CronFields"),
        ("Threads", "ThreadFields"),
        ("ThreadStates", "ThreadState"),
    ] {
        let item = format!("#/components/schemas/{one}");
        added.push((name.to_owned(), json!({"type": "array", "items": {"$ref": item}})));
    }
    added.push(("SomeObservation".to_owned(), some_observation()));
    added.push(("RunOutput".to_owned(), run_output()));
    added.push(("ThreadState".to_owned(), thread_state()));
    for (name, schema) in added {
        let before = schemas.insert(name, schema);
        debug_assert!(before.is_none(), "two schemas have the name of {before:?}");
    }
}

/// What is seen of one of several deployments.
fn some_observation() -> Value {
    json!({
        "description": "What is seen of a deployment, or why nothing is.",
        "anyOf": [
            {"$ref": "#/components/schemas/Observation"},
            {
                "type": "object",
                "properties": {
                    "deployment": {"type": "string"},
                    "error": {
                        "type": "object",
                        "properties": {
                            "code": {"type": "string"},
                            "message": {"type": "string"},
                            "hint": {"type": "string"},
                        },
                        "required": ["code", "message"],
                    },
                },
                "required": ["deployment", "error"],
            },
        ],
    })
}

/// Some fields of an observation, with whose it is and over which window.
fn part(known: &Value, fields: &[&str]) -> Value {
    let names = ["at", "window_s"].iter().chain(fields);
    let mut properties: Map<String, Value> =
        names.map(|name| ((*name).to_owned(), known[*name].clone())).collect();
    properties.insert("deployment".to_owned(), json!({"type": "string"}));
    let required: Vec<&String> = properties.keys().collect();
    json!({"type": "object", "required": required, "properties": properties})
}

/// An object of which `select` may have left fields out.
fn some_fields(whole: Option<&Value>) -> Value {
    let mut some = whole.cloned().unwrap_or_default();
    if let Some(schema) = some.as_object_mut() {
        schema.remove("required");
    }
    some
}

/// What those who wait for a run get.
fn run_output() -> Value {
    json!({
        "description": "The graph's output channels; with `__interrupt__` where it asks, with `__error__` where it failed.",
        "type": "object",
        "properties": {
            "__interrupt__": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {"id": {"type": "string"}, "value": {}, "response_schema": {}},
                    "required": ["id", "value"],
                },
            },
            "__error__": {
                "type": "object",
                "properties": {
                    "error": {"type": "string"},
                    "message": {"type": "string"},
                    "hint": {"type": "string"},
                },
                "required": ["error", "message"],
            },
        },
        "additionalProperties": true,
    })
}

/// A state of a thread.
fn thread_state() -> Value {
    let checkpoint = json!({
        "type": ["object", "null"],
        "properties": {
            "checkpoint_id": {"type": "string"},
            "thread_id": {"type": "string"},
            "checkpoint_ns": {"type": "string"},
        },
    });
    let asked = json!({
        "type": "object",
        "properties": {"id": {"type": "string"}, "value": {}},
        "required": ["id", "value"],
    });
    let task = json!({
        "type": "object",
        "properties": {
            "id": {"type": "string"},
            "name": {"type": "string"},
            "path": {"type": "array"},
            "error": {"type": ["string", "null"]},
            "interrupts": {"type": "array", "items": asked},
            "checkpoint": checkpoint,
            "state": {"type": ["object", "null"]},
            "result": {},
        },
        "required": ["id", "name", "interrupts"],
    });
    json!({
        "description": "A state of a thread: its channels, what is to do next, where it comes from.",
        "type": "object",
        "properties": {
            "values": {"type": "object"},
            "next": {"type": "array", "items": {"type": "string"}},
            "tasks": {"type": "array", "items": task},
            "metadata": {"type": "object"},
            "created_at": {"type": ["string", "null"]},
            "checkpoint": checkpoint,
            "parent_checkpoint": checkpoint,
            "interrupts": {"type": "array", "items": asked},
            "checkpoint_id": {"type": ["string", "null"]},
            "parent_checkpoint_id": {"type": ["string", "null"]},
        },
        "required": [
            "values", "next", "tasks", "metadata", "created_at", "checkpoint", "parent_checkpoint", "interrupts",
            "checkpoint_id", "parent_checkpoint_id",
        ],
    })
}
