//! Graphs as LangGraph's clients draw them, and their schemas.

use serde_json::{Map, Value, json};

use crate::agent::GraphShape;

/// Nodes and edges.
pub(super) fn drawn(shape: &GraphShape) -> Value {
    let node = |name: &str| json!({"id": name, "type": "runnable", "data": {"name": name}});
    let mut nodes = vec![node("__start__")];
    nodes.extend(shape.nodes.iter().map(|name| node(name)));
    nodes.push(json!({"id": "__end__"}));
    let edges = shape.edges.iter().map(|edge| {
        let source = edge.from.as_deref().unwrap_or("__start__");
        let target = edge.to.as_deref().unwrap_or("__end__");
        match &edge.when {
            None => json!({"source": source, "target": target}),
            Some(when) => {
                json!({"source": source, "target": target, "data": when, "conditional": true})
            }
        }
    });
    json!({"nodes": nodes, "edges": edges.collect::<Vec<_>>()})
}

/// Schemas of input, output, state and context.
pub(super) fn schemas(shape: &GraphShape) -> Value {
    let inputs: Vec<String> = shape.input.keys().cloned().collect();
    let required: Vec<String> =
        shape.input.iter().filter(|(_, required)| **required).map(|(n, _)| n.clone()).collect();
    // A graph that asks for nothing takes any part of its state.
    let input = (!required.is_empty()).then(|| shape.schema(&inputs, &required));
    let output = (!shape.answers_with_all()).then(|| shape.schema(&shape.output, &[]));
    let context =
        (!shape.context.is_empty()).then(|| json!({"type": "object", "properties": shape.context}));
    let state: Map<String, Value> =
        shape.state.iter().map(|(name, schema)| (name.clone(), titled(name, schema))).collect();
    json!({
        "graph_id": shape.name,
        "input_schema": input,
        "output_schema": output,
        "state_schema": {
            "type": "object", "title": format!("{}_state", shape.name), "properties": state,
        },
        "config_schema": {},
        "context_schema": context,
    })
}

/// A channel's schema with the title that a form shows.
fn titled(name: &str, schema: &Value) -> Value {
    let mut words: Vec<String> = Vec::new();
    for word in name.split('_') {
        let mut letters = word.chars();
        let first = letters.next().map(|letter| letter.to_uppercase().collect::<String>());
        words.push(first.unwrap_or_default() + letters.as_str());
    }
    let mut titled = schema.as_object().cloned().unwrap_or_default();
    titled.insert("title".to_owned(), words.join(" ").into());
    titled.entry("default").or_insert(Value::Null);
    Value::Object(titled)
}
