//! `/api/v1/history`: snapshots that were collected before.

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};

use super::fields::QueryFields;
use super::refusal::Refusal;
use super::sliced;
use crate::api::state::App;
use crate::base::{Clock, Millis, SystemClock};

/// Snapshots kept of one instance, the newest.
const KEPT_MAX: u64 = 1_000;
/// An hour [ms].
const HOUR_MS: f64 = 3_600_000.0;

fn collection(instance: &str) -> String {
    format!("seed.snapshots/{instance}")
}

/// Keeps a snapshot. A store that fails loses it, not the answer that it belongs to.
pub(super) async fn keep(app: &App, instance: &str, at: Millis, snapshot: &Value) {
    // So many places, used again in turn: the newest write of each is what is kept.
    let place = (at.0 / 1000 % KEPT_MAX).to_string();
    let kept = json!({"at_ms": at.0, "snapshot": snapshot});
    let put = app.agent().documents().put(&collection(instance), &place, None, kept).await;
    if let Err(problem) = put {
        tracing::warn!(%problem, "a snapshot is not kept");
    }
}

/// Snapshots of an instance that were collected in the last `hours`, the newest first.
#[utoipa::path(
    get, path = "/api/v1/history/{instance_id}", tag = "seed", operation_id = "seed_history",
    params(
        ("instance_id" = String, Path, description = "As the caller called it"),
        ("hours" = Option<i64>, Query, description = "How far back to look [h]; left out: 24"),
        ("limit" = Option<i64>, Query, description = "How many; left out: 100"),
    ),
    responses(
        (status = 200, body = Vec<Object>),
        (status = 422, description = "Invalid fields", body = Object),
    ),
)]
pub(super) async fn history(
    State(app): State<App>,
    Path(instance): Path<String>,
    QueryFields(mut fields): QueryFields,
) -> Result<Json<Vec<Value>>, Refusal> {
    let hours = fields.int("hours", 24);
    let limit = fields.int("limit", 100);
    fields.done()?;
    let kept = app.agent().documents().list(&collection(&instance), KEPT_MAX as usize).await?;
    let since = SystemClock.now().0.saturating_sub((hours.max(0) as f64 * HOUR_MS) as u64);
    let at = |kept: &Value| kept["at_ms"].as_u64().unwrap_or(0);
    let values = kept.into_iter().map(|document| document.value);
    let snapshots =
        values.filter(|kept| at(kept) >= since).map(|mut kept| kept["snapshot"].take()).collect();
    Ok(Json(sliced(snapshots, limit)))
}
