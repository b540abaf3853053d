//! `/rollout/start`: a config that a person names, tried away from users and rolled out like any other.

use axum::Extension;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::Error;
use super::body::Body;
use super::deployments::named;
use super::optimize::{Accepted, Begun, OptimizeRequest, begin, goal_for};
use super::rollouts;
use super::security::Caller;
use super::state::App;
use crate::domain::{Deployment, ServingConfig};

/// What to roll out.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct StartRequest {
    /// Name; left out: the only one there is.
    #[serde(default)]
    deployment: Option<String>,
    /// The whole new config: as under `/deployments/{name}/config`.
    config: Value,
    /// What judges it, in plain words; left out: the deployment's own limits, or a faster first token.
    #[serde(default)]
    goal: Option<String>,
    /// Whether the rollout is approved beforehand; else a person is asked once the config was tried.
    #[serde(default)]
    approved: bool,
}

/// Starts a run of `optimize` that searches nothing: the config is tried on a spare server, judged by the goal, approved, and
/// rolled out by canary. One that is not accepted in its trial reaches nobody.
#[utoipa::path(
    post, path = "/rollout/start", tag = "rollout",
    request_body = StartRequest,
    responses(
        (status = 202, body = Accepted),
        (status = 404, body = super::error::ProblemBody),
        (status = 409, description = "One at a time", body = super::error::ProblemBody),
        (status = 422, description = "No config, the one that runs, or one that is not legal", body = super::error::ProblemBody),
        (status = "4XX", body = super::error::ProblemBody),
        (status = 502, description = "The engine does not answer", body = super::error::ProblemBody),
    ),
)]
pub(super) async fn start(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Body(request): Body<StartRequest>,
) -> Result<Begun, Error> {
    let found = named(&app, request.deployment.as_deref()).await?["deployment"].clone();
    let unreadable = |error: serde_json::Error| Error::InvalidRequest(format!("`config`: {error}"));
    let deployment: Deployment = serde_json::from_value(found).map_err(unreadable)?;
    let config: ServingConfig = serde_json::from_value(request.config).map_err(unreadable)?;
    if config == deployment.config {
        return Err(Error::InvalidRequest("`config` is the one that runs".to_owned()));
    }
    refuse_illegal(&app, &deployment.name, &config).await?;
    if let Some(rollout) = rollouts::open_at(&app, &deployment.name).await? {
        return Err(Error::RolloutGoesOn { deployment: deployment.name, rollout });
    }
    let goal = request.goal.unwrap_or_else(|| goal_for(&deployment));
    let request =
        OptimizeRequest { goal, deployment: Some(deployment.name), approved: request.approved };
    begin(&app, &caller, request, json!({"config": config})).await
}

/// What cannot start is said now and not by a run.
async fn refuse_illegal(app: &App, deployment: &str, config: &ServingConfig) -> Result<(), Error> {
    let args = json!({"deployment": deployment, "config": config});
    let legality = app.agent().call_tool("check_config", args, false).await?;
    if legality["legal"] == true {
        return Ok(());
    }
    let violations = legality["violations"].as_array().cloned().unwrap_or_default();
    let messages = violations.iter().filter_map(|violation| violation["message"].as_str());
    Err(Error::InvalidConfig(messages.collect::<Vec<_>>().join("; ")))
}
