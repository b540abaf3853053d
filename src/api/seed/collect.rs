//! `/api/v1/collect` and `/api/v1/metrics`: the metrics page of a server that the caller names.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use reqwest::Url;
use serde_json::{Value, json};

use super::fields::{BodyFields, QueryFields};
use super::refusal::Refusal;
use super::scrape::{page_url, sighted};
use super::snapshot::{Seen, raw};
use super::{engine_in_path, history};
use crate::api::state::App;
use crate::domain::EngineKind;

/// Pages read: a rate needs two.
const PAGES: usize = 2;
/// Longest wait for a page where the caller names none, and at all [s].
const TIMEOUT_S: (i64, i64) = (30, 300);

/// Reads a server's page now. 200 also when that fails: `success` says it.
#[utoipa::path(
    post, path = "/api/v1/collect/{engine}", tag = "seed", operation_id = "seed_collect",
    params(("engine" = String, Path, description = "`vllm`, `tgi` or `sglang`")),
    request_body(content = Object, description = "`instance_id`, `endpoint` (URL), `timeout` [s], 30 by default"),
    responses(
        (status = 200, body = Object),
        (status = 404, description = "No such engine", body = Object),
        (status = 422, description = "Invalid fields", body = Object),
    ),
)]
pub(super) async fn collect(
    State(app): State<App>,
    Path(engine): Path<String>,
    BodyFields(mut fields): BodyFields,
) -> Result<Json<Value>, Refusal> {
    let engine = engine_in_path(&engine)?;
    let instance = fields.text("instance_id");
    let endpoint = fields.text("endpoint");
    let timeout = fields.int("timeout", TIMEOUT_S.0);
    if timeout < 1 {
        fields.refuse(
            "timeout",
            "Input should be greater than or equal to 1",
            "greater_than_equal",
        );
    }
    let url = page_url(&endpoint);
    if let (Err(reason), false) = (&url, endpoint.is_empty()) {
        fields.refuse("endpoint", reason.as_str(), "url_parsing");
    }
    fields.done()?;
    let url = url.map_err(Refusal::bad)?;
    let timeout = Duration::from_secs(timeout.min(TIMEOUT_S.1).unsigned_abs());
    let answer = match read(&app, engine, &instance, &url, timeout).await {
        Ok(snapshot) => json!({
            "success": true, "instance_id": instance, "metrics": snapshot, "error": null,
        }),
        Err(error) => json!({
            "success": false, "instance_id": instance, "metrics": null, "error": error,
        }),
    };
    Ok(Json(answer))
}

/// Reads a server's page now.
#[utoipa::path(
    get, path = "/api/v1/metrics/{engine}/{instance_id}", tag = "seed", operation_id = "seed_metrics",
    params(
        ("engine" = String, Path, description = "`vllm`, `tgi` or `sglang`"),
        ("instance_id" = String, Path, description = "As the caller calls it"),
        ("endpoint" = String, Query, description = "URL of the server or of its page"),
    ),
    responses(
        (status = 200, body = Object),
        (status = 404, description = "No such engine", body = Object),
        (status = 422, description = "Invalid fields", body = Object),
        (status = 500, description = "The page cannot be read", body = Object),
    ),
)]
pub(super) async fn metrics(
    State(app): State<App>,
    Path((engine, instance)): Path<(String, String)>,
    QueryFields(mut fields): QueryFields,
) -> Result<Json<Value>, Refusal> {
    let engine = engine_in_path(&engine)?;
    let endpoint = fields.text("endpoint");
    let url = page_url(&endpoint);
    if let (Err(reason), false) = (&url, endpoint.is_empty()) {
        fields.refuse("endpoint", reason.as_str(), "url_parsing");
    }
    fields.done()?;
    let url = url.map_err(Refusal::bad)?;
    let timeout = Duration::from_secs(TIMEOUT_S.0.unsigned_abs());
    read(&app, engine, &instance, &url, timeout).await.map(Json).map_err(Refusal::unread)
}

/// The snapshot of a server, kept for its history.
async fn read(
    app: &App,
    engine: EngineKind,
    instance: &str,
    url: &Url,
    timeout: Duration,
) -> Result<Value, String> {
    let sighting = sighted(app, engine, instance, url, PAGES, timeout).await?;
    let seen = Seen {
        instance,
        endpoint: Some(url.as_str()),
        at: sighting.recent.at,
        recent: &sighting.recent,
        total: Some(&sighting.total),
    };
    let mut snapshot = seen.snapshot();
    history::keep(app, instance, seen.at, &snapshot).await;
    snapshot["raw_metrics"] = json!(raw(&sighting.samples, seen.at));
    Ok(snapshot)
}
