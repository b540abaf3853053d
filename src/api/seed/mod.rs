//! The paths and shapes of the system this one replaces, under `/api/v1`: a thin layer over the same doors as our own
//! resources. Every field is measured or `null`.

mod analyze;
mod collect;
mod config;
mod cure;
mod fields;
mod health;
mod history;
mod instance;
mod optimize;
mod refusal;
mod scrape;
mod slo;
mod snapshot;
mod story;
mod workflow_record;
mod workflows;

use axum::middleware::from_fn;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::state::App;
use crate::base::Millis;
use crate::domain::EngineKind;
use refusal::Refusal;

pub(super) use refusal::dressed;
pub(super) use workflows::take_up;

/// Every route; those that read servers take as long as that takes.
pub(super) fn routes() -> OpenApiRouter<App> {
    let quick = OpenApiRouter::new()
        .routes(routes!(config::root))
        .routes(routes!(health::health))
        .routes(routes!(health::detailed))
        .routes(routes!(config::config))
        .routes(routes!(config::capabilities))
        .routes(routes!(config::metrics))
        .routes(routes!(history::history))
        .routes(routes!(workflows::start, workflows::list))
        .routes(routes!(workflows::show))
        .routes(routes!(workflows::approve))
        .routes(routes!(workflows::reject))
        .layer(from_fn(super::middleware::limit_time));
    OpenApiRouter::new()
        .merge(quick)
        .routes(routes!(collect::collect))
        .routes(routes!(collect::metrics))
        .routes(routes!(analyze::analyze))
        .routes(routes!(optimize::optimize))
        .layer(from_fn(refusal::dress))
}

/// A moment as the seed's clients read it: naive UTC.
fn stamp(at: Millis) -> String {
    let millis = i64::try_from(at.0).unwrap_or(i64::MAX);
    let at = jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX);
    at.strftime("%Y-%m-%dT%H:%M:%S%.6f").to_string()
}

/// The engine of that name, as it stands in a path.
fn engine_in_path(name: &str) -> Result<EngineKind, Refusal> {
    engine(name).ok_or_else(|| Refusal::missing(format!("there is no engine `{name}`")))
}

/// The engine of that name, as it stands in a body.
fn engine_in_body(name: &str) -> Result<EngineKind, Refusal> {
    engine(name).ok_or_else(|| {
        Refusal::bad(format!("Unsupported instance type: {name}; it is vllm, tgi or sglang"))
    })
}

fn engine(name: &str) -> Option<EngineKind> {
    ENGINES.into_iter().find(|engine| engine.to_string() == name)
}

/// Every engine.
const ENGINES: [EngineKind; 3] = [EngineKind::Vllm, EngineKind::Tgi, EngineKind::Sglang];

/// The part of a list that Python's `[:limit]` gives: a negative limit leaves so many out at the end.
fn sliced<T>(mut list: Vec<T>, limit: i64) -> Vec<T> {
    let keep = match usize::try_from(limit) {
        Ok(limit) => limit,
        Err(_) => {
            list.len().saturating_sub(usize::try_from(limit.unsigned_abs()).unwrap_or(usize::MAX))
        }
    };
    list.truncate(keep);
    list
}
