//! `/ok` and `/info`: whether a server is there, and which.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::protocol::{API_VERSION, LANGGRAPH_VERSION};
use super::refusal::{Detail, Params, Refusal};
use crate::api::state::App;

/// Whether this process answers.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct Alive {
    ok: bool,
}

/// How to ask.
#[derive(Debug, Deserialize)]
pub(in crate::api) struct OkParams {
    #[serde(default)]
    check_db: Option<u8>,
}

/// Answers as long as this process does; with `check_db=1`, as long as its store does.
#[utoipa::path(
    get, path = "/ok", tag = "meta",
    params(("check_db" = Option<u8>, Query, description = "1: whether the store answers, too")),
    responses((status = 200, body = Alive), (status = "4XX", body = Detail)),
)]
pub(in crate::api) async fn ok(
    State(app): State<App>,
    Params(params): Params<OkParams>,
) -> Result<Json<Alive>, Refusal> {
    match params.check_db {
        None | Some(0) => {}
        Some(1) => drop(app.agent().threads(1).await?),
        Some(_) => return Err(Refusal::invalid("`check_db` is 0 or 1")),
    }
    Ok(Json(Alive { ok: true }))
}

/// What this server is.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct Info {
    /// The version of LangGraph's server whose routes these are.
    version: &'static str,
    /// The version of LangGraph whose wire this speaks.
    langgraph_py_version: &'static str,
    /// What is there of what may be.
    flags: Value,
    /// The server itself.
    metadata: Value,
}

/// What this server is, and what it has.
#[utoipa::path(get, path = "/info", tag = "meta", responses((status = 200, body = Info)))]
pub(in crate::api) async fn info() -> Json<Info> {
    Json(Info {
        version: API_VERSION,
        langgraph_py_version: LANGGRAPH_VERSION,
        flags: json!({"assistants": true, "crons": true, "langsmith": false}),
        metadata: json!({"server": "perf-agent", "server_version": env!("CARGO_PKG_VERSION")}),
    })
}
