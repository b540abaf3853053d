//! `/analyze`: the likeliest bottleneck, with its evidence.

use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::Error;
use super::body::Body;
use super::deployments::name_of;
use super::state::App;
use crate::agent;
use crate::base::{Clock, SystemClock};

/// Collection of analyses.
const ANALYSES: &str = "analyses";

/// What to analyse.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AnalyzeRequest {
    /// Name; left out: the only one there is.
    #[serde(default)]
    deployment: Option<String>,
    /// Bounds to meet, `[{"metric": "ttft", "percentile": 95, "max_ms": 300}]`; left out: none, the causes are judged as
    /// such.
    #[serde(default)]
    targets: Vec<Value>,
    /// Metrics that may not get worse: `throughput` …
    #[serde(default)]
    keep: Vec<String>,
    /// The metric to make better; left out without targets: `throughput`.
    #[serde(default)]
    improve: Option<String>,
    /// Window of one look [s], 10 to 600; left out: 60.
    #[serde(default)]
    window_s: Option<u32>,
}

/// An analysis.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct Analysis {
    /// Ask for it again under `/analyze/{id}`.
    id: String,
    /// When it was made [ms since the epoch].
    at_ms: u64,
    /// What was to be reached.
    objective: Value,
    /// The bottleneck, its score, each of its conditions with the measured value, the runner-up.
    diagnosis: Value,
}

/// Names the likeliest bottleneck of a deployment as it is seen now.
#[utoipa::path(
    post, path = "/analyze", tag = "analysis", request_body = AnalyzeRequest,
    responses(
        (status = 200, body = Analysis),
        (status = "4XX", body = super::error::ProblemBody),
        (status = 502, description = "The engine does not answer", body = super::error::ProblemBody),
    ),
)]
pub(super) async fn analyze(
    State(app): State<App>,
    Body(request): Body<AnalyzeRequest>,
) -> Result<Json<Analysis>, Error> {
    let deployment = name_of(&app, request.deployment.as_deref()).await?;
    let fallback = request.targets.is_empty().then(|| "throughput".to_owned());
    let objective = json!({
        "deployment": deployment,
        "targets": request.targets,
        "keep": request.keep,
        "improve": request.improve.or(fallback),
    });
    let args = json!({"objective": objective, "window_s": request.window_s.unwrap_or(60)});
    let diagnosis = app.agent().call_tool("explain_bottleneck", args, false).await?;
    let id = app.agent().fresh_thread().to_string();
    let analysis = Analysis { id, at_ms: SystemClock.now().0, objective, diagnosis };
    let documents = app.agent().documents();
    let kept = documents.put(ANALYSES, &analysis.id, Some(0), json!(analysis)).await;
    kept.map_err(agent::Error::Run)?;
    Ok(Json(analysis))
}

/// An analysis that was made before.
#[utoipa::path(
    get, path = "/analyze/{id}", tag = "analysis",
    params(("id" = String, Path, description = "The analysis")),
    responses((status = 200, body = Analysis), (status = 404, body = super::error::ProblemBody)),
)]
pub(super) async fn show(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Error> {
    let kept = app.agent().documents().get(ANALYSES, &id).await.map_err(agent::Error::Run)?;
    kept.map(|kept| Json(kept.value)).ok_or(Error::NotKept { what: "analysis", id })
}
