//! `/openapi.json`: the routes as OpenAPI 3.1, from the handlers themselves.

use axum::Json;
use serde_json::{Value, json};
use utoipa::OpenApi;

/// Title and version; the router adds every route.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Performance Agent",
        description = "Makes LLM servers faster without ever hurting a user."
    ),
    components(schemas(super::error::ProblemBody, super::langgraph::Detail))
)]
pub(super) struct Base;

/// The whole document.
pub fn document() -> Value {
    let mut document = json!(super::router::routes().to_openapi());
    super::schemas::add(&mut document);
    super::documented::complete(&mut document);
    super::security::describe(&mut document);
    super::codes::list(&mut document);
    super::examples::add(&mut document);
    document
}

/// This document.
#[utoipa::path(get, path = "/openapi.json", tag = "meta", responses((status = 200, body = Object)))]
pub(super) async fn show() -> Json<Value> {
    Json(document())
}
