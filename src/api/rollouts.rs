//! `/rollout`: where rollouts stand; each can be taken back at any time.

use axum::Json;
use axum::extract::{Path, State};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::Error;
use super::body::Body;
use super::deployments::name_of;
use super::state::App;
use crate::agent;
use crate::base::Document;

/// Collection of the rollouts' records.
const ROLLOUTS: &str = "rollouts";
/// Rollouts that are listed at most, the newest.
const LISTED_MAX: usize = 1_000;

async fn kept(app: &App) -> Result<Vec<Document>, Error> {
    Ok(app.agent().documents().list(ROLLOUTS, LISTED_MAX).await.map_err(agent::Error::Run)?)
}

/// Whether a record is that of a rollout that is over.
fn is_over(record: &Value) -> bool {
    let state = record["state"]["name"].as_str().unwrap_or_default();
    matches!(state, "done" | "rolled_back")
}

/// Records of the rollouts that go on, the one that moved last first.
#[utoipa::path(get, path = "/rollout/status", tag = "rollout", responses((status = 200, body = Vec<Object>)))]
pub(super) async fn status(State(app): State<App>) -> Result<Json<Vec<Value>>, Error> {
    let records = kept(&app).await?.into_iter().map(|document| document.value);
    Ok(Json(records.filter(|record| !is_over(record)).collect()))
}

/// Records of the rollouts that are over, the one that ended last first.
#[utoipa::path(get, path = "/rollout/history", tag = "rollout", responses((status = 200, body = Vec<Object>)))]
pub(super) async fn history(State(app): State<App>) -> Result<Json<Vec<Value>>, Error> {
    let records = kept(&app).await?.into_iter().map(|document| document.value);
    Ok(Json(records.filter(is_over).collect()))
}

/// A rollout's record: what is rolled out, who approved, the state, every step with its evidence.
#[utoipa::path(
    get, path = "/rollout/{id}", tag = "rollout",
    params(("id" = String, Path, description = "The rollout")),
    responses((status = 200, body = Object), (status = 404, body = super::error::ProblemBody)),
)]
pub(super) async fn show(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Error> {
    let kept = app.agent().documents().get(ROLLOUTS, &id).await.map_err(agent::Error::Run)?;
    kept.map(|kept| Json(kept.value)).ok_or(Error::NotKept { what: "rollout", id })
}

/// Takes a rollout back: all traffic to the stable version. Always allowed; answers when the canary is gone.
#[utoipa::path(
    post, path = "/rollout/{id}/abort", tag = "rollout",
    params(("id" = String, Path, description = "The rollout")),
    responses((status = 200, body = Object), (status = "4XX", body = super::error::ProblemBody)),
)]
pub(super) async fn abort(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Error> {
    Ok(Json(app.agent().call_tool("abort_rollout", json!({"rollout": id}), true).await?))
}

/// Everything that happened in a rollout, oldest first: each with when, from which state to which, and why.
#[utoipa::path(
    get, path = "/rollout/{id}/events", tag = "rollout",
    params(("id" = String, Path, description = "The rollout")),
    responses((status = 200, body = Vec<Object>), (status = 404, body = super::error::ProblemBody)),
)]
pub(super) async fn events(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Error> {
    let Json(record) = show(State(app), Path(id)).await?;
    Ok(Json(record["transitions"].clone()))
}

/// Whose rollout to take back.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RollbackRequest {
    /// Deployment; left out: the only one there is.
    #[serde(default)]
    deployment: Option<String>,
}

/// Takes the rollout that goes on at a deployment back, as `/rollout/{id}/abort` does. 404 when none goes on.
#[utoipa::path(
    post, path = "/rollout/rollback", tag = "rollout", request_body = RollbackRequest,
    responses((status = 200, body = Object), (status = "4XX", body = super::error::ProblemBody)),
)]
pub(super) async fn rollback(
    State(app): State<App>,
    Body(request): Body<RollbackRequest>,
) -> Result<Json<Value>, Error> {
    let deployment = name_of(&app, request.deployment.as_deref()).await?;
    let records = kept(&app).await?.into_iter().map(|document| document.value);
    let mut open = records.filter(|record| !is_over(record) && record["deployment"] == *deployment);
    let id = open.next().and_then(|record| record["id"].as_str().map(str::to_owned));
    let none = || Error::NotKept { what: "rollout that goes on at", id: deployment.clone() };
    abort(State(app), Path(id.ok_or_else(none)?)).await
}
