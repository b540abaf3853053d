//! `/graphs`: what can be run.

use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::Error;
use super::body::Body;
use super::params::Params;
use super::state::App;
use crate::agent::{self, Drawing};

/// A graph.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Graph {
    /// Its name: the `assistant_id` of a run.
    name: String,
    /// The graph in Mermaid.
    mermaid: String,
}

/// Every graph, with its picture.
#[utoipa::path(get, path = "/graphs", tag = "graphs", responses((status = 200, body = Vec<Graph>)))]
pub(super) async fn list(State(app): State<App>) -> Result<Json<Vec<Graph>>, Error> {
    let agent = app.agent();
    let graphs: Result<Vec<Graph>, Error> = agent
        .graph_names()
        .into_iter()
        .map(|name| Ok(Graph { mermaid: agent.draw(&name, Drawing::Mermaid)?, name }))
        .collect();
    graphs.map(Json)
}

/// A graph: its nodes, its edges with their conditions, the schemas of its channels.
#[utoipa::path(
    get, path = "/graphs/{name}", tag = "graphs",
    params(("name" = String, Path, description = "The graph")),
    responses((status = 200, body = Object), (status = 404, body = super::error::ProblemBody)),
)]
pub(super) async fn show(
    State(app): State<App>,
    Path(name): Path<String>,
) -> Result<Json<Value>, Error> {
    let shape = app.agent().graph_shape(&name)?;
    let edges = shape.edges.iter();
    let edges = edges.map(|edge| json!({"from": edge.from, "to": edge.to, "when": edge.when}));
    Ok(Json(json!({
        "name": shape.name,
        "description": shape.description,
        "nodes": shape.nodes,
        "edges": edges.collect::<Vec<_>>(),
        "input": shape.input,
        "output": shape.output,
        "state": shape.state,
        "context": shape.context,
    })))
}

/// How to draw.
#[derive(Debug, Deserialize)]
pub(super) struct DiagramParams {
    #[serde(default)]
    form: Form,
}

/// A form of drawing.
#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Form {
    #[default]
    Mermaid,
    Ascii,
}

/// The picture of a graph, as text.
#[utoipa::path(
    get, path = "/graphs/{name}/diagram", tag = "graphs",
    params(
        ("name" = String, Path, description = "The graph"),
        ("form" = Option<String>, Query, description = "`mermaid` (left out) or `ascii`"),
    ),
    responses(
        (status = 200, content_type = "text/plain", body = String),
        (status = "4XX", body = super::error::ProblemBody),
    ),
)]
pub(super) async fn diagram(
    State(app): State<App>,
    Path(name): Path<String>,
    Params(params): Params<DiagramParams>,
) -> Result<String, Error> {
    let form = match params.form {
        Form::Mermaid => Drawing::Mermaid,
        Form::Ascii => Drawing::Ascii,
    };
    Ok(app.agent().draw(&name, form)?)
}

/// The text of a graph file.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CheckRequest {
    /// YAML.
    text: String,
}

/// What speaks against a graph file.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Checked {
    /// Whether nothing does.
    ok: bool,
    /// Name of the graph, when it is fine.
    name: Option<String>,
    /// Each with `code`, `line`, `column`, `message`, `hint`.
    findings: Vec<Value>,
    /// The findings with the lines they are about.
    rendered: String,
}

/// Checks the text of a graph file against the tools and prompts that are there: every finding at once.
#[utoipa::path(
    post, path = "/graphs/check", tag = "graphs", request_body = CheckRequest,
    responses((status = 200, body = Checked), (status = "4XX", body = super::error::ProblemBody)),
)]
pub(super) async fn check(
    State(app): State<App>,
    Body(request): Body<CheckRequest>,
) -> Result<Json<Checked>, Error> {
    match app.agent().check_graph_text(&request.text) {
        Ok(name) => Ok(Json(Checked {
            ok: true,
            name: Some(name),
            findings: Vec::new(),
            rendered: String::new(),
        })),
        Err(agent::Error::Graph { findings, rendered }) => {
            let shown = findings.iter().map(|finding| {
                json!({
                    "code": finding.code,
                    "line": finding.line,
                    "column": finding.column,
                    "message": finding.message,
                    "hint": finding.hint,
                })
            });
            Ok(Json(Checked { ok: false, name: None, findings: shown.collect(), rendered }))
        }
        Err(error) => Err(error.into()),
    }
}
