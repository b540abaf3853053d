//! `/api/v1/health`: whether this process answers, and whether what it stands on does.

use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::stamp;
use crate::api::state::App;
use crate::base::{Clock, SystemClock};

fn basics(app: &App, status: &str) -> Value {
    let now = SystemClock.now();
    json!({
        "status": status,
        "timestamp": stamp(now),
        "version": env!("CARGO_PKG_VERSION"),
        "agent_id": app.register.name(),
        "agent_type": "performance",
        "uptime_seconds": now.since(app.started) as f64 / 1000.0,
    })
}

/// Longest look at one deployment.
const LOOK: Duration = Duration::from_secs(10);

/// Answers as long as this process does.
#[utoipa::path(
    get, path = "/api/v1/health", tag = "seed", operation_id = "seed_health",
    responses((status = 200, body = Object)),
)]
pub(super) async fn health(State(app): State<App>) -> Json<Value> {
    Json(basics(&app, "healthy"))
}

/// Asks the store, the orchestrator and every deployment now; each with the time that asking took.
#[utoipa::path(
    get, path = "/api/v1/health/detailed", tag = "seed", operation_id = "seed_health_detailed",
    responses((status = 200, body = Object)),
)]
pub(super) async fn detailed(State(app): State<App>) -> Json<Value> {
    let began = Instant::now();
    let read = app.agent().documents().get("health", "seed").await;
    let database = json!({
        "status": if read.is_ok() { "healthy" } else { "unhealthy" },
        "latency_ms": began.elapsed().as_secs_f64() * 1000.0,
    });
    let orchestrator = app.standing.word();
    let mut checks = app.agent().pulse(LOOK).await;
    checks.retain(|check| check.name.starts_with("deployment "));
    let well = read.is_ok() && checks.iter().all(|check| check.ok != Some(false));
    let mut health = basics(&app, if well { "healthy" } else { "degraded" });
    health["components"] = json!({
        "database": database,
        // There is none to ask.
        "cache": {"status": "not_configured", "latency_ms": null},
        "orchestrator": {"status": orchestrator.0, "latency_ms": orchestrator.1},
        "deployments": checks,
    });
    Json(health)
}
