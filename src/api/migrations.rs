//! `/graphs/{name}/migrations`: threads of earlier versions of a graph, and what moving them to the present one would do.

use axum::Json;
use axum::extract::{Path, State};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

use super::Error;
use super::body::Body;
use super::error::ProblemBody;
use super::params::Params;
use super::state::App;
use crate::base::ThreadId;

/// Which threads.
#[derive(Debug, Default, Deserialize, IntoParams, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct ThreadsToMove {
    /// This one; left out: every thread of that graph.
    thread_id: Option<String>,
}

/// What moving threads to the present version would do: what would change, what would be left, all that stands against it. Nothing
/// is moved.
#[utoipa::path(
    get, path = "/graphs/{name}/migrations", tag = "graphs", operation_id = "plan_migrations",
    params(("name" = String, Path, description = "The graph"), ThreadsToMove),
    responses((status = 200, body = Vec<Object>), (status = "4XX", body = ProblemBody)),
)]
pub(super) async fn plan(
    State(app): State<App>,
    Path(name): Path<String>,
    Params(threads): Params<ThreadsToMove>,
) -> Result<Json<Value>, Error> {
    reports(&app, &name, threads, false).await
}

/// Moves the threads that can be moved, and says of each what was done or stands against it.
#[utoipa::path(
    post, path = "/graphs/{name}/migrations", tag = "graphs", operation_id = "migrate_threads",
    request_body = ThreadsToMove,
    params(("name" = String, Path, description = "The graph")),
    responses((status = 200, body = Vec<Object>), (status = "4XX", body = ProblemBody)),
)]
pub(super) async fn migrate(
    State(app): State<App>,
    Path(name): Path<String>,
    Body(threads): Body<ThreadsToMove>,
) -> Result<Json<Value>, Error> {
    reports(&app, &name, threads, true).await
}

async fn reports(
    app: &App,
    name: &str,
    threads: ThreadsToMove,
    go: bool,
) -> Result<Json<Value>, Error> {
    let thread = threads.thread_id.map(ThreadId);
    let reports = app.agent().migrate(name, thread.as_ref(), go).await?;
    for moved in reports.iter().filter(|report| go && report.problems.is_empty()) {
        // Its timers are those of a run that has another name now.
        app.drivers.wake(&moved.thread);
    }
    Ok(Json(json!(reports)))
}
