//! `/test`: configs that are checked, predicted, and tried away from users.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderName, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::Error;
use super::body::Body;
use super::deployments::name_of;
use super::state::App;
use crate::agent;
use crate::base::{Clock, Coded, SystemClock};

/// Collection of trials that were started here.
const TRIALS: &str = "trials_by_hand";
/// Trials that are listed at most, the newest.
const LISTED_MAX: usize = 1_000;

/// A config to judge without starting it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ValidateRequest {
    /// Name; left out: the only one there is.
    #[serde(default)]
    deployment: Option<String>,
    /// The whole config: as under `/deployments/{name}/config`.
    config: Value,
}

/// What is known of a config without starting it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Validation {
    /// Whether the engine's rules and the device's memory allow it; what they forbid.
    legality: Value,
    /// What the simulator predicts under the load seen now; `null`: it is not legal, or cannot be simulated.
    prediction: Option<Value>,
    /// Why nothing is predicted.
    not_predicted: Option<String>,
}

/// Checks a config against the engine's rules and the device's memory, and predicts what it would do.
#[utoipa::path(
    post, path = "/test/validate", tag = "testing", request_body = ValidateRequest,
    responses(
        (status = 200, body = Validation),
        (status = "4XX", body = super::error::ProblemBody),
        (status = 502, description = "The engine does not answer", body = super::error::ProblemBody),
    ),
)]
pub(super) async fn validate(
    State(app): State<App>,
    Body(request): Body<ValidateRequest>,
) -> Result<Json<Validation>, Error> {
    let deployment = name_of(&app, request.deployment.as_deref()).await?;
    let owned = app.clone();
    app.carry(async move { judged(&owned, &deployment, request.config).await }).await.map(Json)
}

/// Judges a config, one caller at a time for each deployment.
async fn judged(app: &App, deployment: &str, config: Value) -> Result<Validation, Error> {
    let _turn = app.computed.take(deployment).await;
    let args = json!({"deployment": deployment, "config": config});
    let legality = app.agent().call_tool("check_config", args.clone(), false).await?;
    let (prediction, not_predicted) = match legality["legal"].as_bool() {
        Some(false) => (None, Some("the config is not legal".to_owned())),
        _ => match app.agent().call_tool("simulate_config", args, false).await {
            Ok(prediction) => (Some(prediction), None),
            Err(error) => (None, Some(error.problem().to_string())),
        },
    };
    Ok(Validation { legality, prediction, not_predicted })
}

/// What to try, for which goal: as the tool `run_trial` takes it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TrialRequest {
    /// What to try.
    proposal: Value,
    /// The goal that judges it.
    objective: Value,
}

/// A trial that was started here.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(super) struct TrialRecord {
    /// Ask for it under `/test/results/{id}`.
    id: String,
    /// `running`, `done` or `failed`. One that a restart cut off stays `running` no longer: it is `failed`.
    status: String,
    /// When it was started [ms since the epoch].
    started_ms: u64,
    /// What is tried.
    proposal: Value,
    /// Measured beside the running config, accepted or rejected; `null` until it is done.
    trial: Option<Value>,
    /// Why it failed.
    error: Option<Value>,
    /// The process that runs it.
    process: String,
}

fn process(app: &App) -> String {
    app.register.name().to_owned()
}

/// A trial that another process ran, and did not end, was cut off.
fn honest(app: &App, mut record: TrialRecord) -> TrialRecord {
    if record.status == "running" && record.process != process(app) {
        record.status = "failed".to_owned();
        let message = "the server was stopped while the trial ran";
        record.error =
            Some(json!({"code": "api.stopping", "message": message, "hint": "run it again"}));
    }
    record
}

async fn keep(app: &App, record: &TrialRecord) -> Result<(), Error> {
    let documents = app.agent().documents();
    documents.put(TRIALS, &record.id, None, json!(record)).await.map_err(agent::Error::Run)?;
    Ok(())
}

/// Starts a proposed config on a spare server, measures it and the running config under today's load, and stops it: in the
/// background. Users are not touched.
#[utoipa::path(
    post, path = "/test/run", tag = "testing", request_body = TrialRequest,
    responses((status = 202, body = TrialRecord), (status = "4XX", body = super::error::ProblemBody)),
)]
pub(super) async fn run(
    State(app): State<App>,
    Body(request): Body<TrialRequest>,
) -> Result<(StatusCode, [(HeaderName, String); 1], Json<TrialRecord>), Error> {
    let name = request.proposal["deployment"].as_str();
    name_of(&app, name).await?;
    let record = TrialRecord {
        id: app.agent().fresh_thread().to_string(),
        status: "running".to_owned(),
        started_ms: SystemClock.now().0,
        proposal: request.proposal.clone(),
        trial: None,
        error: None,
        process: process(&app),
    };
    let args = json!({"proposal": request.proposal, "objective": request.objective});
    app.agent().check_call("run_trial", &args)?;
    keep(&app, &record).await?;
    // A server that stops waits for it, so that its spare server goes.
    app.work.spawn(finish(app.clone(), record.clone(), args));
    let location = [(header::LOCATION, format!("/test/results/{}", record.id))];
    Ok((StatusCode::ACCEPTED, location, Json(record)))
}

async fn finish(app: App, mut record: TrialRecord, args: Value) {
    match app.agent().call_tool("run_trial", args, false).await {
        Ok(trial) => {
            record.status = "done".to_owned();
            record.trial = Some(trial);
        }
        Err(error) => {
            record.status = "failed".to_owned();
            record.error = Some(json!(error.problem()));
        }
    }
    if let Err(error) = keep(&app, &record).await {
        tracing::error!(trial = record.id, "the end of a trial is not written down: {error}");
    }
}

async fn kept(app: &App, id: &str) -> Result<TrialRecord, Error> {
    let document = app.agent().documents().get(TRIALS, id).await.map_err(agent::Error::Run)?;
    let missing = || Error::NotKept { what: "trial", id: id.to_owned() };
    let record = serde_json::from_value(document.ok_or_else(missing)?.value);
    record.map(|record| honest(app, record)).map_err(|_| missing())
}

/// Trials that were started here, the one that changed last first.
#[utoipa::path(get, path = "/test/results", tag = "testing", responses((status = 200, body = Vec<TrialRecord>)))]
pub(super) async fn results(State(app): State<App>) -> Result<Json<Vec<TrialRecord>>, Error> {
    let listed = app.agent().documents().list(TRIALS, LISTED_MAX).await;
    let listed = listed.map_err(agent::Error::Run)?.into_iter();
    let records = listed.filter_map(|document| serde_json::from_value(document.value).ok());
    Ok(Json(records.map(|record| honest(&app, record)).collect()))
}

/// A trial that was started here.
#[utoipa::path(
    get, path = "/test/results/{id}", tag = "testing",
    params(("id" = String, Path, description = "The trial")),
    responses((status = 200, body = TrialRecord), (status = 404, body = super::error::ProblemBody)),
)]
pub(super) async fn result(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Json<TrialRecord>, Error> {
    kept(&app, &id).await.map(Json)
}

/// Forgets a trial that is over.
#[utoipa::path(
    delete, path = "/test/{id}", tag = "testing",
    params(("id" = String, Path, description = "The trial")),
    responses(
        (status = 204),
        (status = 404, body = super::error::ProblemBody),
        (status = 409, description = "It runs", body = super::error::ProblemBody),
    ),
)]
pub(super) async fn delete(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<StatusCode, Error> {
    if kept(&app, &id).await?.status == "running" {
        return Err(Error::TrialRuns(id));
    }
    app.agent().documents().remove(TRIALS, &id).await.map_err(agent::Error::Run)?;
    Ok(StatusCode::NO_CONTENT)
}
