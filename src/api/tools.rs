//! `/tools`: what the agent may touch.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::state::App;

/// Every tool: what it may change, what it needs, the schemas of its arguments and its result.
#[utoipa::path(get, path = "/tools", tag = "tools", responses((status = 200, body = Vec<Object>)))]
pub(super) async fn list(State(app): State<App>) -> Json<Value> {
    Json(json!(app.agent().tools()))
}
