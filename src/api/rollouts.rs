//! `/rollout`: where rollouts stand, and what a person orders; each can be taken back at any time.

use axum::extract::{Path, State};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

use super::Error;
use super::body::Body;
use super::deployments::name_of;
use super::params::Params;
use super::security::Caller;
use super::state::App;
use crate::agent::{self, ThreadStatus};
use crate::base::{Document, ThreadId};

/// Collection of the rollouts' records.
const ROLLOUTS: &str = "rollouts";
/// The node of `optimize` that asks what should become of a rollout.
const UNDECIDED: &str = "undecided";
/// Rollouts that are listed at most, the newest.
const LISTED_MAX: usize = 1_000;

async fn kept(app: &App) -> Result<Vec<Document>, Error> {
    Ok(app.agent().documents().list(ROLLOUTS, LISTED_MAX).await.map_err(agent::Error::Run)?)
}

/// Whether a record is that of a rollout that is over.
fn is_over(record: &Value) -> bool {
    let state = record["state"]["name"].as_str().unwrap_or_default();
    matches!(state, "done" | "rolled_back")
}

/// The rollout that goes on at a deployment.
pub(super) async fn open_at(app: &App, deployment: &str) -> Result<Option<String>, Error> {
    let records = kept(app).await?.into_iter().map(|document| document.value);
    let mut open = records.filter(|record| !is_over(record) && record["deployment"] == *deployment);
    Ok(open.next().and_then(|record| record["id"].as_str().map(str::to_owned)))
}

/// Records of the rollouts that go on, the one that moved last first.
#[utoipa::path(get, path = "/rollout/status", tag = "rollout", responses((status = 200, body = Vec<Object>)))]
pub(super) async fn status(State(app): State<App>) -> Result<Json<Vec<Value>>, Error> {
    let records = kept(&app).await?.into_iter().map(|document| document.value);
    Ok(Json(records.filter(|record| !is_over(record)).collect()))
}

/// Records of the rollouts that are over, the one that ended last first.
#[utoipa::path(get, path = "/rollout/history", tag = "rollout", responses((status = 200, body = Vec<Object>)))]
pub(super) async fn history(State(app): State<App>) -> Result<Json<Vec<Value>>, Error> {
    let records = kept(&app).await?.into_iter().map(|document| document.value);
    Ok(Json(records.filter(is_over).collect()))
}

/// A rollout's record: what is rolled out, who approved, the state, every step with its evidence.
#[utoipa::path(
    get, path = "/rollout/{id}", tag = "rollout",
    params(("id" = String, Path, description = "The rollout")),
    responses((status = 200, body = Object), (status = 404, body = super::error::ProblemBody)),
)]
pub(super) async fn show(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Error> {
    let kept = app.agent().documents().get(ROLLOUTS, &id).await.map_err(agent::Error::Run)?;
    kept.map(|kept| Json(kept.value)).ok_or(Error::NotKept { what: "rollout", id })
}

/// Takes a rollout back: all traffic to the stable version. Always allowed; answers when the canary is gone.
#[utoipa::path(
    post, path = "/rollout/{id}/abort", tag = "rollout",
    params(("id" = String, Path, description = "The rollout")),
    responses((status = 200, body = ref("#/components/schemas/RolloutStatus")), (status = "4XX", body = super::error::ProblemBody)),
)]
pub(super) async fn abort(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Error> {
    order(&app, &caller, ("abort_rollout", Some("take_back")), json!({"rollout": id})).await
}

/// Calls a tool in the caller's name, then lets the runs look that move rollouts. `word`: what answers a run that asks what
/// should become of this one.
async fn order(
    app: &App,
    caller: &Caller,
    (tool, word): (&str, Option<&str>),
    args: Value,
) -> Result<Json<Value>, Error> {
    let by = caller.consenter();
    let id = args["rollout"].as_str().unwrap_or_default().to_owned();
    let status = app.agent().call_tool_as(tool, args, by.as_deref()).await?;
    if let Some(word) = word
        && let Some(thread) = asking(app, &id).await?
    {
        // The order is carried out; a question that expired meanwhile changes nothing about that.
        if let Err(error) = app.agent().answer_as(&thread, json!(word), by.as_deref()).await {
            tracing::warn!(%thread, %error, "the question about a rollout was not answered");
        }
        app.drivers.wake(&thread);
    }
    app.drivers.wake_unfinished().await?;
    Ok(Json(status))
}

/// The thread that asks what should become of a rollout that cannot decide.
async fn asking(app: &App, id: &str) -> Result<Option<ThreadId>, Error> {
    for row in app.agent().threads(LISTED_MAX).await? {
        if row.status != ThreadStatus::Interrupted {
            continue;
        }
        let Some(state) = app.agent().look(&row.thread).await? else { continue };
        let asks = state.interrupts.iter().any(|open| open.node == UNDECIDED);
        if asks && state.values.get("rollout").is_some_and(|rollout| rollout["id"] == *id) {
            return Ok(Some(row.thread));
        }
    }
    Ok(None)
}

/// What an order was given at.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Seen {
    /// The record's generation as it was looked at; another one is refused.
    #[serde(default)]
    generation: Option<u64>,
}

impl Seen {
    fn args(&self, id: &str) -> Value {
        json!({"rollout": id, "generation": self.generation})
    }
}

/// Holds the present share: nobody more comes, nobody goes back. Alarms still take the rollout back.
#[utoipa::path(
    post, path = "/rollout/{id}/pause", tag = "rollout",
    params(("id" = String, Path, description = "The rollout"), Seen),
    responses(
        (status = 200, description = "`paused` says by whom", body = ref("#/components/schemas/RolloutStatus")),
        (status = 404, body = super::error::ProblemBody),
        (status = 409, description = "No users are being moved, it is over, or it has moved on", body = super::error::ProblemBody),
    ),
)]
pub(super) async fn pause(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Params(seen): Params<Seen>,
) -> Result<Json<Value>, Error> {
    order(&app, &caller, ("pause_rollout", None), seen.args(&id)).await
}

/// Lets a rollout go on that was paused, holds for an incident, or waits for a person; its share gets its time anew.
#[utoipa::path(
    post, path = "/rollout/{id}/resume", tag = "rollout",
    params(("id" = String, Path, description = "The rollout"), Seen),
    responses(
        (status = 200, description = "Where it stands", body = ref("#/components/schemas/RolloutStatus")),
        (status = 404, body = super::error::ProblemBody),
        (status = 409, description = "Nothing holds it, an alarm speaks, it is over, or it has moved on", body = super::error::ProblemBody),
    ),
)]
pub(super) async fn resume(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Params(seen): Params<Seen>,
) -> Result<Json<Value>, Error> {
    order(&app, &caller, ("resume_rollout", Some("go_on")), seen.args(&id)).await
}

/// Gives all users the new version now: time, sessions and proof are not waited for. What speaks against the new version is
/// never overruled, everyone is watched as after any last step, and the old version stays warm until the soak is over.
#[utoipa::path(
    post, path = "/rollout/{id}/promote", tag = "rollout",
    params(("id" = String, Path, description = "The rollout"), Seen),
    responses(
        (status = 200, description = "Where it stands", body = ref("#/components/schemas/RolloutStatus")),
        (status = 404, body = super::error::ProblemBody),
        (status = 409, description = "No share is observed, a test or a health check speaks against the new version, it is over, or it has moved on", body = super::error::ProblemBody),
    ),
)]
pub(super) async fn promote(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Params(seen): Params<Seen>,
) -> Result<Json<Value>, Error> {
    order(&app, &caller, ("promote_rollout", Some("go_on")), seen.args(&id)).await
}

/// Everything that happened in a rollout, oldest first: each with when, from which state to which, and why.
#[utoipa::path(
    get, path = "/rollout/{id}/events", tag = "rollout",
    params(("id" = String, Path, description = "The rollout")),
    responses((status = 200, body = Vec<Object>), (status = 404, body = super::error::ProblemBody)),
)]
pub(super) async fn events(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Error> {
    let Json(record) = show(State(app), Path(id)).await?;
    Ok(Json(record["transitions"].clone()))
}

/// Whose rollout to take back.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RollbackRequest {
    /// Deployment; left out: the only one there is.
    #[serde(default)]
    deployment: Option<String>,
}

/// Takes the rollout that goes on at a deployment back, as `/rollout/{id}/abort` does. 404 when none goes on.
#[utoipa::path(
    post, path = "/rollout/rollback", tag = "rollout", request_body = RollbackRequest,
    responses((status = 200, body = ref("#/components/schemas/RolloutStatus")), (status = "4XX", body = super::error::ProblemBody)),
)]
pub(super) async fn rollback(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Body(request): Body<RollbackRequest>,
) -> Result<Json<Value>, Error> {
    let deployment = name_of(&app, request.deployment.as_deref()).await?;
    let id = open_at(&app, &deployment).await?;
    let none = || Error::NotKept { what: "rollout that goes on at", id: deployment.clone() };
    abort(State(app), Extension(caller), Path(id.ok_or_else(none)?)).await
}
