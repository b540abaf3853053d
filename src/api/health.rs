//! `/health`: whether this process answers, and whether what it needs does.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::Error;
use super::state::App;
use crate::agent;

/// Whether this process answers.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Health {
    /// `ok`.
    status: &'static str,
    /// Version of this program.
    version: &'static str,
}

/// Answers as long as this process does; asks nothing else.
#[utoipa::path(get, path = "/health", tag = "health", responses((status = 200, body = Health)))]
pub(super) async fn health() -> Json<Health> {
    Json(Health { status: "ok", version: env!("CARGO_PKG_VERSION") })
}

/// Answers as long as this process does: for whoever restarts what hangs.
#[utoipa::path(get, path = "/health/live", tag = "health", responses((status = 200, body = Health)))]
pub(super) async fn live() -> Json<Health> {
    health().await
}

/// Whether work can be taken: the store answers. For whoever sends requests here.
#[utoipa::path(
    get, path = "/health/ready", tag = "health",
    responses((status = 200, body = Health), (status = 503, body = super::error::ProblemBody)),
)]
pub(super) async fn ready(State(app): State<App>) -> Result<Json<Health>, Error> {
    app.agent().documents().get("health", "ready").await.map_err(agent::Error::Run)?;
    Ok(health().await)
}

/// Which build this is.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Version {
    /// Version of this program.
    version: &'static str,
    /// The model that decides, and why that one.
    model: String,
    /// Whether the fleet is simulated in this process.
    simulated: bool,
}

/// Which build this is, and what it works with.
#[utoipa::path(get, path = "/health/version", tag = "health", responses((status = 200, body = Version)))]
pub(super) async fn version(State(app): State<App>) -> Json<Version> {
    let agent = app.agent();
    Json(Version {
        version: env!("CARGO_PKG_VERSION"),
        model: agent.model_line().to_owned(),
        simulated: agent.is_simulated(),
    })
}

/// What was found by asking.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DetailedHealth {
    /// `ok`; `degraded`: something that is needed does not work.
    status: &'static str,
    /// Version of this program.
    version: &'static str,
    /// How long asking took [ms].
    took_ms: u64,
    /// Each thing that was asked: `name`, `ok` (null: not there, and not needed), `detail`, `latency_ms` (null: nothing had to
    /// be asked; of the orchestrator: of its last answer).
    checks: Vec<Value>,
}

/// Asks store, model, GPUs, every deployment and every proxy of this host now; says how this agent stands with its orchestrator, if it has one. 503 when one that is needed does not work.
#[utoipa::path(
    get, path = "/health/detailed", tag = "health",
    responses((status = 200, body = DetailedHealth), (status = 503, body = DetailedHealth)),
)]
pub(super) async fn detailed(State(app): State<App>) -> (StatusCode, Json<DetailedHealth>) {
    let began = std::time::Instant::now();
    // Less than the answer may take: what hangs is named, and does not hang the answer.
    let mut checks = app.agent().examine(app.security.limits.answer.mul_f64(2.0 / 3.0)).await;
    checks.extend(app.standing.check());
    let healthy = checks.iter().all(|check| check.ok != Some(false));
    let (code, status) = match healthy {
        true => (StatusCode::OK, "ok"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "degraded"),
    };
    let health = DetailedHealth {
        status,
        version: env!("CARGO_PKG_VERSION"),
        took_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        checks: checks.iter().map(|check| serde_json::json!(check)).collect(),
    };
    (code, Json(health))
}
