//! `/graphs`: what can be run.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::Error;
use super::body::{Body, Text};
use super::error::FindingBody;
use super::params::Params;
use super::precondition::{Precondition, VersionHeaders, etag};
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

/// A graph: its nodes, its edges with their conditions, the schemas of its channels, and `text`, its file. `ETag` is the
/// version of the file, which a PUT names in `If-Match`.
#[utoipa::path(
    get, path = "/graphs/{name}", tag = "graphs",
    params(("name" = String, Path, description = "The graph")),
    responses(
        (status = 200, body = Object, headers(("ETag" = String, description = "Version of its file"))),
        (status = 404, body = super::error::ProblemBody),
    ),
)]
pub(super) async fn show(
    State(app): State<App>,
    Path(name): Path<String>,
) -> Result<(HeaderMap, Json<Value>), Error> {
    let shape = app.agent().graph_shape(&name)?;
    // Of the file as it is now: it may be newer than what new runs use, or gone.
    let file = app.agent().graph_text(&name)?;
    let edges = shape.edges.iter();
    let edges = edges.map(|edge| json!({"from": edge.from, "to": edge.to, "when": edge.when}));
    let tag = file.iter().flat_map(|file| etag(&file.version)).collect();
    let shown = Json(json!({
        "name": shape.name,
        "text": file.map(|file| file.text),
        "description": shape.description,
        "nodes": shape.nodes,
        "edges": edges.collect::<Vec<_>>(),
        "input": shape.input,
        "output": shape.output,
        "state": shape.state,
        "context": shape.context,
    }));
    Ok((tag, shown))
}

/// A text that was written.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Replaced {
    /// Name of the graph, or file name of the prompt.
    name: String,
    /// Its version now, as in `ETag`.
    version: String,
}

/// A write and its answer: 201 where there was nothing before.
pub(super) type Put = (StatusCode, [(HeaderName, HeaderValue); 1], Json<Replaced>);

/// Writes a text off the async threads: it means to load every graph.
pub(super) async fn written(
    app: &App,
    name: String,
    write: impl FnOnce(&agent::Agent, &str) -> Result<agent::Written, agent::Error> + Send + 'static,
) -> Result<Put, Error> {
    let agent = app.agent().clone();
    let work = tokio::task::spawn_blocking(move || write(&agent, &name).map(|done| (name, done)));
    let (name, done) = work.await.map_err(|error| Error::Interrupted(error.to_string()))??;
    let status = if done.created { StatusCode::CREATED } else { StatusCode::OK };
    let tag = etag(&done.version);
    Ok((status, tag, Json(Replaced { name, version: done.version })))
}

/// Writes the file of a graph in the folder of `--graphs`; the next run uses it, runs that go on keep theirs.
///
/// Everything that is wrong with it, or with graphs that use it, is told at once, and nothing is written then.
#[utoipa::path(
    put, path = "/graphs/{name}", tag = "graphs",
    params(("name" = String, Path, description = "The graph: as its text says"), VersionHeaders),
    request_body(content = String, description = "YAML", content_type = "application/yaml"),
    responses(
        (status = 200, body = Replaced, headers(("ETag" = String, description = "Its version now"))),
        (status = 201, body = Replaced, headers(("ETag" = String, description = "Its version now"))),
        (status = 409, description = "Another version is there, or nothing can be changed here", body = super::error::ProblemBody),
        (status = 422, description = "It is refused: `findings` are all there are", body = super::error::ProblemBody),
        (status = 428, description = "Which version is replaced is not said", body = super::error::ProblemBody),
        (status = "4XX", body = super::error::ProblemBody),
    ),
)]
pub(super) async fn put(
    State(app): State<App>,
    Path(name): Path<String>,
    Precondition(expected): Precondition,
    Text(text): Text,
) -> Result<Put, Error> {
    let done =
        written(&app, name, move |agent, name| agent.put_graph(name, &text, &expected)).await?;
    // A new graph is an assistant of LangGraph's clients at once.
    super::langgraph::keep_own(app.agent()).await.map_err(agent::Error::Run)?;
    Ok(done)
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
    /// Everything that is wrong.
    findings: Vec<FindingBody>,
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
            let findings = super::error::shown(&findings);
            Ok(Json(Checked { ok: false, name: None, findings, rendered }))
        }
        Err(error) => Err(error.into()),
    }
}
