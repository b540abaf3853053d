//! Graphs as LangGraph's clients draw them, and their schemas.

use axum::Json;
use axum::extract::{Path, State};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::assistants;
use super::refusal::{Detail, Params, Refusal};
use crate::agent::GraphShape;
use crate::api::state::App;

/// Deepest level of subgraphs that is shown.
const DEPTH_MAX: u32 = 16;

/// How to draw a graph.
#[derive(Debug, Deserialize)]
pub(in crate::api) struct GraphParams {
    /// Whether subgraphs are drawn too, or how deep.
    #[serde(default)]
    xray: Option<String>,
}

impl GraphParams {
    /// Levels of subgraphs that are drawn.
    fn depth(&self) -> Result<u32, Refusal> {
        match self.xray.as_deref().map(str::to_lowercase).as_deref() {
            None | Some("false") => Ok(0),
            Some("true") => Ok(DEPTH_MAX),
            Some(text) => text
                .parse()
                .map(|depth: u32| depth.min(DEPTH_MAX))
                .map_err(|_| Refusal::invalid("`xray` is true, false or how deep")),
        }
    }
}

/// Which subgraphs.
#[derive(Debug, Deserialize)]
pub(in crate::api) struct SubgraphParams {
    /// Those of subgraphs too.
    #[serde(default)]
    recurse: bool,
}

/// Nodes and edges of an assistant's graph.
#[utoipa::path(
    get, path = "/assistants/{assistant_id}/graph", tag = "assistants",
    params(
        ("assistant_id" = String, Path, description = "The assistant"),
        ("xray" = Option<String>, Query, description = "Whether subgraphs are drawn too, or how deep"),
    ),
    responses((status = 200, body = Object), (status = "4XX", body = Detail)),
)]
pub(in crate::api) async fn graph(
    State(app): State<App>,
    Path(id): Path<String>,
    Params(params): Params<GraphParams>,
) -> Result<Json<Value>, Refusal> {
    let record = assistants::kept(app.agent(), &id).await?;
    let shape = app.agent().graph_shape(record.graph()?)?;
    Ok(Json(drawn(&shape.expanded(params.depth()?))))
}

/// JSON Schemas of an assistant's graph; `null` where the state's says it all.
#[utoipa::path(
    get, path = "/assistants/{assistant_id}/schemas", tag = "assistants",
    params(("assistant_id" = String, Path, description = "The assistant")),
    responses((status = 200, body = Object), (status = "4XX", body = Detail)),
)]
pub(in crate::api) async fn schemas(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Refusal> {
    let record = assistants::kept(app.agent(), &id).await?;
    Ok(Json(described(&app.agent().graph_shape(record.graph()?)?)))
}

/// The subgraphs of an assistant's graph by namespace.
#[utoipa::path(
    get, path = "/assistants/{assistant_id}/subgraphs", tag = "assistants",
    params(
        ("assistant_id" = String, Path, description = "The assistant"),
        ("recurse" = Option<bool>, Query, description = "Those of subgraphs too"),
    ),
    responses((status = 200, body = Object), (status = "4XX", body = Detail)),
)]
pub(in crate::api) async fn subgraphs(
    State(app): State<App>,
    Path(id): Path<String>,
    Params(params): Params<SubgraphParams>,
) -> Result<Json<Value>, Refusal> {
    let record = assistants::kept(app.agent(), &id).await?;
    let shape = app.agent().graph_shape(record.graph()?)?;
    let parts = shape.subgraphs(if params.recurse { DEPTH_MAX } else { 1 });
    let shown = parts.into_iter().map(|(place, part)| (place, described(part)));
    Ok(Json(Value::Object(shown.collect())))
}

/// One subgraph of an assistant's graph, by its namespace (`node`, `node|node`); with `recurse`, its own as well.
#[utoipa::path(
    get, path = "/assistants/{assistant_id}/subgraphs/{namespace}", tag = "assistants",
    params(
        ("assistant_id" = String, Path, description = "The assistant"),
        ("namespace" = String, Path, description = "The node that calls it; `node|node` for one of a subgraph"),
        ("recurse" = Option<bool>, Query, description = "Its own subgraphs too"),
    ),
    responses((status = 200, body = Object), (status = "4XX", body = Detail)),
)]
pub(in crate::api) async fn subgraph(
    State(app): State<App>,
    Path((id, namespace)): Path<(String, String)>,
    Params(params): Params<SubgraphParams>,
) -> Result<Json<Value>, Refusal> {
    let record = assistants::kept(app.agent(), &id).await?;
    let shape = app.agent().graph_shape(record.graph()?)?;
    let within = format!("{namespace}|");
    let wanted = |place: &str| place == namespace || (params.recurse && place.starts_with(&within));
    let parts = shape.subgraphs(DEPTH_MAX).into_iter().filter(|(place, _)| wanted(place));
    let shown: Map<String, Value> = parts.map(|(place, part)| (place, described(part))).collect();
    match shown.is_empty() {
        true => Err(Refusal::missing(format!("Subgraph '{namespace}' not found"))),
        false => Ok(Json(Value::Object(shown))),
    }
}

/// Nodes and edges.
fn drawn(shape: &GraphShape) -> Value {
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
fn described(shape: &GraphShape) -> Value {
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
