//! `/metrics/…`: what the deployments' pages and users' requests say. `null` is unknown, not zero.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

use super::Error;
use super::body::Body;
use super::deployments::{all, name_of};
use super::params::Params;
use super::state::App;

/// What `/metrics/latency` shows of an observation.
const LATENCY: [&str; 7] = ["ttft", "itl", "tpot", "e2e", "queue_time", "prefill_time", "client"];
/// What `/metrics/throughput` shows.
const THROUGHPUT: [&str; 8] = [
    "finished_rps",
    "error_rate",
    "prompt_tok_s",
    "generation_tok_s",
    "running",
    "waiting",
    "preemptions_per_s",
    "preemptions_per_request",
];
/// What `/metrics/tokens` shows.
const TOKENS: [&str; 8] = [
    "input_tokens",
    "output_tokens",
    "prompt_tok_s",
    "generation_tok_s",
    "iteration_tokens_p90",
    "kv_cache_tokens",
    "kv_cache_utilization",
    "prefix_hit_ratio",
];
/// The same by the names of their schemas.
pub(super) const PARTS: [(&str, &[&str]); 3] =
    [("MetricsLatency", &LATENCY), ("MetricsThroughput", &THROUGHPUT), ("MetricsTokens", &TOKENS)];

/// Which deployment, and how far back.
#[derive(Debug, Default, Deserialize, ToSchema, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Window {
    /// Name; left out: the only one there is.
    #[serde(default)]
    pub(super) deployment: Option<String>,
    /// How far back to look [s]; left out: 60.
    #[serde(default)]
    pub(super) window_s: Option<u32>,
}

/// What is seen of a deployment.
pub(super) async fn observed(app: &App, name: &str, window_s: Option<u32>) -> Result<Value, Error> {
    let args = json!({"deployment": name, "window_s": window_s.unwrap_or(60)});
    Ok(app.agent().call_tool("read_metrics", args, false).await?)
}

/// Some fields of what is seen of a deployment.
async fn part(app: &App, window: &Window, fields: &[&str]) -> Result<Json<Value>, Error> {
    let name = name_of(app, window.deployment.as_deref()).await?;
    let seen = observed(app, &name, window.window_s).await?;
    let mut part = json!({"deployment": name, "at": seen["at"], "window_s": seen["window_s"]});
    for field in fields {
        part[*field] = seen[*field].clone();
    }
    Ok(Json(part))
}

/// TTFT, ITL, TPOT, E2E, time in the queue and in prefill [ms], as the server counts them; `client`: as users got them.
#[utoipa::path(
    get, path = "/metrics/latency", tag = "metrics",
    params(Window),
    responses(
        (status = 200, body = ref("#/components/schemas/MetricsLatency")),
        (status = "4XX", body = super::error::ProblemBody),
        (status = 502, description = "The engine does not answer", body = super::error::ProblemBody),
    ),
)]
pub(super) async fn latency(
    State(app): State<App>,
    Params(window): Params<Window>,
) -> Result<Json<Value>, Error> {
    part(&app, &window, &LATENCY).await
}

/// Requests and tokens per second, the batch, the queue, preemptions, errors.
#[utoipa::path(
    get, path = "/metrics/throughput", tag = "metrics",
    params(Window),
    responses(
        (status = 200, body = ref("#/components/schemas/MetricsThroughput")),
        (status = "4XX", body = super::error::ProblemBody),
        (status = 502, description = "The engine does not answer", body = super::error::ProblemBody),
    ),
)]
pub(super) async fn throughput(
    State(app): State<App>,
    Params(window): Params<Window>,
) -> Result<Json<Value>, Error> {
    part(&app, &window, &THROUGHPUT).await
}

/// Lengths of prompts and answers, tokens per second and per pass, the KV cache and its hits.
#[utoipa::path(
    get, path = "/metrics/tokens", tag = "metrics",
    params(Window),
    responses(
        (status = 200, body = ref("#/components/schemas/MetricsTokens")),
        (status = "4XX", body = super::error::ProblemBody),
        (status = 502, description = "The engine does not answer", body = super::error::ProblemBody),
    ),
)]
pub(super) async fn tokens(
    State(app): State<App>,
    Params(window): Params<Window>,
) -> Result<Json<Value>, Error> {
    part(&app, &window, &TOKENS).await
}

/// The GPUs of a deployment.
#[utoipa::path(
    get, path = "/metrics/gpu", tag = "metrics",
    params(("deployment" = Option<String>, Query, description = "Name; left out: the only one there is")),
    responses(
        (status = 200, body = Object),
        (status = "4XX", body = super::error::ProblemBody),
        (status = 502, description = "The GPUs do not answer", body = super::error::ProblemBody),
    ),
)]
pub(super) async fn gpu(
    State(app): State<App>,
    Params(window): Params<Window>,
) -> Result<Json<Value>, Error> {
    let name = name_of(&app, window.deployment.as_deref()).await?;
    Ok(Json(app.agent().call_tool("read_gpus", json!({"deployment": name}), false).await?))
}

/// Which series.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Series {
    /// `ttft_p95_ms`, `generation_tok_s` …: see the tool `query_history`.
    metric: String,
    /// Name; left out: the only one there is.
    #[serde(default)]
    deployment: Option<String>,
    /// How far back to look [s]; left out: 600.
    #[serde(default)]
    window_s: Option<u32>,
    /// Length of a step [s]; left out: 60.
    #[serde(default)]
    step_s: Option<u32>,
}

/// One metric as a series, oldest first.
#[utoipa::path(
    get, path = "/metrics/history", tag = "metrics",
    params(Series),
    responses(
        (status = 200, body = Object),
        (status = "4XX", body = super::error::ProblemBody),
        (status = 502, description = "The engine does not answer", body = super::error::ProblemBody),
    ),
)]
pub(super) async fn history(
    State(app): State<App>,
    Params(series): Params<Series>,
) -> Result<Json<Value>, Error> {
    let name = name_of(&app, series.deployment.as_deref()).await?;
    let args = json!({
        "deployment": name,
        "metric": series.metric,
        "window_s": series.window_s.unwrap_or(600),
        "step_s": series.step_s.unwrap_or(60),
    });
    Ok(Json(app.agent().call_tool("query_history", args, false).await?))
}

/// What is seen of every deployment; `error` where one does not answer.
#[utoipa::path(
    get, path = "/metrics/deployments", tag = "metrics",
    params(("window_s" = Option<u32>, Query, description = "How far back to look [s]; left out: 60")),
    responses((status = 200, body = ref("#/components/schemas/Observations")), (status = "4XX", body = super::error::ProblemBody)),
)]
pub(super) async fn deployments(
    State(app): State<App>,
    Params(window): Params<Window>,
) -> Result<Json<Vec<Value>>, Error> {
    let mut seen = Vec::new();
    for one in all(&app).await? {
        let name = one["deployment"]["name"].as_str().unwrap_or_default();
        seen.push(match observed(&app, name, window.window_s).await {
            Ok(observation) => observation,
            Err(error) => json!({"deployment": name, "error": crate::base::Coded::problem(&error)}),
        });
    }
    Ok(Json(seen))
}

/// Reads everything of a deployment now.
#[utoipa::path(
    post, path = "/metrics/collect", tag = "metrics", request_body = Window,
    responses(
        (status = 200, body = ref("#/components/schemas/Observation")),
        (status = "4XX", body = super::error::ProblemBody),
        (status = 502, description = "The engine does not answer", body = super::error::ProblemBody),
    ),
)]
pub(super) async fn collect(
    State(app): State<App>,
    Body(window): Body<Window>,
) -> Result<Json<Value>, Error> {
    let name = name_of(&app, window.deployment.as_deref()).await?;
    observed(&app, &name, window.window_s).await.map(Json)
}
