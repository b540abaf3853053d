//! Runs as records: listed, looked at, forgotten.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value, json};

use super::record::{Run, RunRecord};
use super::refusal::{Detail, Params, Refusal};
use super::threads::known;
use super::{page, register, runs, selected};
use crate::api::security::Caller;
use crate::api::state::App;

/// Whether the graph of a run was entered.
pub(super) async fn began(app: &App, run: &RunRecord) -> Result<bool, Refusal> {
    let Some(execution) = &run.execution else { return Ok(false) };
    let state = app.agent().look(&run.thread).await?;
    Ok(state.is_some_and(|state| state.run == execution.run))
}

async fn shown(app: &App, run: &RunRecord) -> Result<Run, Refusal> {
    let began = run.ended.is_some() || began(app, run).await?;
    Ok(run.shown(began, app.register.url()))
}

/// Which runs to list.
#[derive(Debug, Deserialize)]
pub(in crate::api) struct ListParams {
    #[serde(default)]
    limit: Option<usize>,
    #[serde(default)]
    offset: usize,
    #[serde(default)]
    status: Option<String>,
    /// Fields, separated by commas.
    #[serde(default)]
    select: Option<String>,
}

/// The runs of a thread, the newest first.
#[utoipa::path(
    get, path = "/threads/{thread_id}/runs", tag = "runs",
    params(
        ("thread_id" = String, Path, description = "The thread"),
        ("limit" = Option<usize>, Query, description = "At most so many, 1 to 1000"),
        ("offset" = Option<usize>, Query, description = "Leave out so many"),
        ("status" = Option<String>, Query, description = "Only those with this status"),
    ),
    responses((status = 200, body = Vec<Run>), (status = "4XX", body = Detail)),
)]
pub(in crate::api) async fn list(
    State(app): State<App>,
    Path(thread): Path<String>,
    Params(params): Params<ListParams>,
) -> Result<Json<Value>, Refusal> {
    let thread = known(&app, &thread).await?;
    let mut listed = Vec::new();
    for run in register::runs_of(app.agent(), &thread).await? {
        let run = json!(shown(&app, &run).await?);
        if params.status.as_ref().is_none_or(|status| run["status"] == **status) {
            listed.push(run);
        }
    }
    let select: Option<Vec<String>> =
        params.select.map(|fields| fields.split(',').map(str::to_owned).collect());
    let page = page(&listed, params.offset, params.limit.unwrap_or(10))?;
    let page: Vec<Value> =
        page.iter().map(|run| selected(run.clone(), select.as_deref())).collect();
    Ok(Json(json!(page)))
}

/// A run.
#[utoipa::path(
    get, path = "/threads/{thread_id}/runs/{run_id}", tag = "runs",
    params(
        ("thread_id" = String, Path, description = "The thread"),
        ("run_id" = String, Path, description = "The run"),
    ),
    responses((status = 200, body = Run), (status = "4XX", body = Detail)),
)]
pub(in crate::api) async fn show(
    State(app): State<App>,
    Path((thread, run)): Path<(String, String)>,
) -> Result<Json<Run>, Refusal> {
    let thread = known(&app, &thread).await?;
    let run = register::run(app.agent(), &thread, &run).await?;
    shown(&app, &run).await.map(Json)
}

/// Forgets a run; what goes on is cancelled first. What it wrote stays.
#[utoipa::path(
    delete, path = "/threads/{thread_id}/runs/{run_id}", tag = "runs",
    params(
        ("thread_id" = String, Path, description = "The thread"),
        ("run_id" = String, Path, description = "The run"),
    ),
    responses((status = 204), (status = "4XX", body = Detail)),
)]
pub(in crate::api) async fn delete(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path((thread, run)): Path<(String, String)>,
) -> Result<StatusCode, Refusal> {
    let thread = known(&app, &thread).await?;
    let run = register::run(app.agent(), &thread, &run).await?;
    runs::stop(&app, &thread, &run.id, caller.consenter().as_deref()).await?;
    register::remove_run(app.agent(), &thread, &run.id).await?;
    Ok(StatusCode::NO_CONTENT)
}
