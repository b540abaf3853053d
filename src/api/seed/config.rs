//! `/api/v1/`, `/api/v1/config`, `/api/v1/capabilities`: what this process is, and what it can do.

use axum::Json;
use axum::extract::State;
use axum::response::Redirect;
use serde_json::{Value, json};

use super::ENGINES;
use super::cure::Family;
use crate::api::state::App;

/// Where the log's level is set.
const LOG: &str = "PERF_AGENT_LOG";
/// Name of the environment that a process is told it runs in.
const ENVIRONMENT: &str = "ENVIRONMENT";

/// What each tool is good for, in the seed's words.
const CAPABILITIES: [(&str, &str); 6] = [
    ("read_metrics", "performance_monitoring"),
    ("explain_bottleneck", "bottleneck_detection"),
    ("search_configs", "optimization_recommendations"),
    ("run_trial", "config_trials"),
    ("start_rollout", "gradual_rollout"),
    ("abort_rollout", "automatic_rollback"),
];

/// What a node of the optimizing graph brings to a workflow.
const FEATURES: [(&str, &str); 4] = [
    ("approve", "approval_workflow"),
    ("validate", "trial_validation"),
    ("deploy", "gradual_rollout"),
    ("take_back", "automatic_rollback"),
];

/// What the tools that are there can do.
fn able(app: &App) -> Vec<&'static str> {
    let tools = app.agent().tools();
    let there = |tool: &str| tools.iter().any(|known| known.name == tool);
    CAPABILITIES.into_iter().filter(|(tool, _)| there(tool)).map(|(_, word)| word).collect()
}

/// What answers here.
#[utoipa::path(
    get, path = "/api/v1/", tag = "seed", operation_id = "seed_root",
    responses((status = 200, body = Object)),
)]
pub(super) async fn root(State(app): State<App>) -> Json<Value> {
    Json(json!({
        "service": "OptiInfra Performance Agent",
        "version": env!("CARGO_PKG_VERSION"),
        "status": "running",
        "capabilities": able(&app),
    }))
}

/// Where this process's own metrics are.
#[utoipa::path(
    get, path = "/api/v1/metrics", tag = "seed", operation_id = "seed_own_metrics",
    responses((status = 307, description = "At `/metrics`", headers(("Location" = String)))),
)]
pub(super) async fn metrics() -> Redirect {
    Redirect::temporary("/metrics")
}

/// How this process was started; what nobody said is null.
#[utoipa::path(
    get, path = "/api/v1/config", tag = "seed", operation_id = "seed_config",
    responses((status = 200, body = Object)),
)]
pub(super) async fn config(State(app): State<App>) -> Json<Value> {
    Json(json!({
        "agent_id": app.register.name(),
        "agent_type": "performance",
        "port": app.listen.port(),
        "log_level": std::env::var(LOG).unwrap_or_else(|_| "warn".to_owned()),
        "environment": std::env::var(ENVIRONMENT).ok(),
        "version": env!("CARGO_PKG_VERSION"),
    }))
}

/// What the tools and the graphs that are there can do.
#[utoipa::path(
    get, path = "/api/v1/capabilities", tag = "seed", operation_id = "seed_capabilities",
    responses((status = 200, body = Object)),
)]
pub(super) async fn capabilities(State(app): State<App>) -> Json<Value> {
    let nodes = app.agent().graph_shape("optimize").map(|shape| shape.nodes).unwrap_or_default();
    let features = FEATURES.into_iter().filter(|(node, _)| nodes.iter().any(|there| there == node));
    Json(json!({
        "capabilities": able(&app),
        "supported_platforms": ENGINES.map(|engine| engine.to_string()),
        "optimization_types": Family::ALL.map(Family::name),
        "workflow_features": features.map(|(_, word)| word).collect::<Vec<_>>(),
    }))
}
