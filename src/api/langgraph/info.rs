//! `/ok` and `/info`: whether a server is there, and which.

use axum::Json;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::protocol::{API_VERSION, LANGGRAPH_VERSION};

/// Whether this process answers.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct Alive {
    ok: bool,
}

/// Answers as long as this process does.
#[utoipa::path(get, path = "/ok", tag = "meta", responses((status = 200, body = Alive)))]
pub(in crate::api) async fn ok() -> Json<Alive> {
    Json(Alive { ok: true })
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
