//! `/optimize/recommendations`: what would be tried for each deployment as it is seen now. Nothing is started or changed.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::Error;
use super::deployments::{all, named};
use super::optimize::objective_for;
use super::params::Params;
use super::state::App;
use crate::agent;
use crate::base::{Coded, Millis};
use crate::domain::{Deployment, Proposal, ServingConfig};

/// Collection of the newest recommendations by deployment.
const RECOMMENDATIONS: &str = "recommendations";
/// Older ones are made anew unless the caller says otherwise [s].
const MAX_AGE_S: u64 = 300;
/// Runs that are looked through for trials, the newest.
const RUNS_MAX: usize = 200;

/// Whose, and how old they may be.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    #[serde(default)]
    deployment: Option<String>,
    #[serde(default)]
    max_age_s: Option<u64>,
}

/// What would be tried for a deployment. `null` is unknown.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct Recommendations {
    /// Deployment.
    deployment: String,
    /// When it was looked at, on the deployment's clock [ms].
    at_ms: u64,
    /// How long ago that was [s].
    age_s: f64,
    /// What they are to reach: the deployment's own limits; without any, a faster first token.
    objective: Value,
    /// The bottleneck with its evidence.
    diagnosis: Option<Value>,
    /// Who says so: `simulator`, or `rules` where the hardware's model is not known.
    source: Option<String>,
    /// Configs worth a trial, in the order to try them, each with its change and why. Empty: nothing better is known.
    recommendations: Option<Vec<Value>>,
    /// How they were found and what was left out, one fact a line.
    reasons: Vec<String>,
    /// What the newest run that tried anything here measured.
    tried: Option<Value>,
    /// Why something is unknown.
    error: Option<Value>,
    /// The config that ran; under another one they are made anew.
    config: Value,
}

/// What the diagnosis and the search would try for each deployment, as it is seen now. Nothing is started.
#[utoipa::path(
    get, path = "/optimize/recommendations", tag = "optimization",
    params(
        ("deployment" = Option<String>, Query, description = "Name; left out: every deployment"),
        ("max_age_s" = Option<u64>, Query, description = "Older ones are made anew, which takes seconds of both cores; left out: 300", example = 300),
    ),
    responses(
        (status = 200, body = Vec<Recommendations>),
        (status = 404, body = super::error::ProblemBody),
        (status = "4XX", body = super::error::ProblemBody),
    ),
)]
pub(super) async fn list(
    State(app): State<App>,
    Params(wanted): Params<Wanted>,
) -> Result<Json<Vec<Recommendations>>, Error> {
    let found = match wanted.deployment.as_deref() {
        Some(name) => vec![named(&app, Some(name)).await?],
        None => all(&app).await?,
    };
    let max_age_s = wanted.max_age_s.unwrap_or(MAX_AGE_S);
    let mut listed = Vec::new();
    for one in found {
        let deployment = serde_json::from_value(one["deployment"].clone()).map_err(|error| {
            Error::InvalidRequest(format!("a deployment does not read: {error}"))
        })?;
        listed.push(of(&app, &deployment, max_age_s).await?);
    }
    Ok(Json(listed))
}

async fn of(app: &App, deployment: &Deployment, max_age_s: u64) -> Result<Recommendations, Error> {
    let mut made = match kept(app, deployment, Some(max_age_s)).await? {
        Some(kept) => kept,
        None => {
            let (owned, deployment) = (app.clone(), deployment.clone());
            app.carry(async move { anew(&owned, &deployment).await }).await?
        }
    };
    made.tried = tried(app, &deployment.name, &deployment.config).await?;
    Ok(made)
}

/// The newest ones of this config; `max_age_s`: if they are younger.
async fn kept(
    app: &App,
    deployment: &Deployment,
    max_age_s: Option<u64>,
) -> Result<Option<Recommendations>, Error> {
    let documents = app.agent().documents();
    let now = app.agent().clock().now();
    let kept = documents.get(RECOMMENDATIONS, &deployment.name).await.map_err(agent::Error::Run)?;
    let kept: Option<Recommendations> =
        kept.and_then(|kept| serde_json::from_value(kept.value).ok());
    let aged = kept.map(|kept| Recommendations {
        age_s: now.since(Millis(kept.at_ms)) as f64 / 1_000.0,
        ..kept
    });
    Ok(aged.filter(|kept| {
        kept.config == json!(deployment.config)
            && max_age_s.is_none_or(|max_age_s| kept.age_s < max_age_s as f64)
    }))
}

/// Makes them, one caller at a time: whoever waited for another's gets those.
async fn anew(app: &App, deployment: &Deployment) -> Result<Recommendations, Error> {
    let (_turn, waited) = app.computed.take(&deployment.name).await;
    if waited && let Some(kept) = kept(app, deployment, None).await? {
        return Ok(kept);
    }
    let made = make(app, deployment, app.agent().clock().now()).await;
    if made.error.is_none() {
        let documents = app.agent().documents();
        let put = documents.put(RECOMMENDATIONS, &made.deployment, None, json!(made)).await;
        put.map_err(agent::Error::Run)?;
    }
    Ok(made)
}

/// Diagnosis and search by the tools that a run uses. What cannot be known is `null`, with the reason.
async fn make(app: &App, deployment: &Deployment, now: Millis) -> Recommendations {
    let objective = json!(objective_for(deployment));
    let mut made = Recommendations {
        deployment: deployment.name.clone(),
        at_ms: now.0,
        age_s: 0.0,
        diagnosis: None,
        source: None,
        recommendations: None,
        reasons: Vec::new(),
        tried: None,
        error: None,
        config: json!(deployment.config),
        objective: objective.clone(),
    };
    let looked =
        app.agent().call_tool("explain_bottleneck", json!({"objective": objective}), false);
    match looked.await {
        Ok(diagnosis) => made.diagnosis = Some(diagnosis),
        Err(error) => made.error = Some(json!(error.problem())),
    }
    let Some(diagnosis) = &made.diagnosis else { return made };
    let args = json!({"objective": objective, "diagnosis": diagnosis});
    match app.agent().call_tool("search_configs", args, false).await {
        Ok(found) => {
            let screened = found["screened"].as_array().is_some_and(|rounds| !rounds.is_empty());
            let evaluated = found["evaluated"].as_u64().unwrap_or(0) > 0;
            let source = if screened { Some("simulator") } else { evaluated.then_some("rules") };
            made.source = source.map(str::to_owned);
            made.recommendations = found["shortlist"].as_array().cloned();
            made.reasons = serde_json::from_value(found["reasons"].clone()).unwrap_or_default();
        }
        Err(error) => made.error = Some(json!(error.problem())),
    }
    made
}

/// Trials of the newest run that tried something on this deployment; `of_this_config`: what it measured them against still runs.
async fn tried(app: &App, name: &str, config: &ServingConfig) -> Result<Option<Value>, Error> {
    for row in app.agent().threads(RUNS_MAX).await? {
        let result = match app.agent().result(&row.thread).await {
            Ok(result) => result,
            // Deleted meanwhile, or no run of ours.
            Err(agent::Error::UnknownThread(_)) => continue,
            Err(error) => return Err(error.into()),
        };
        let mut trials = result.trials;
        trials.retain(|trial| trial.proposal.deployment == name);
        let Some(first) = trials.first() else { continue };
        let same = before(&first.proposal) == *config;
        return Ok(Some(json!({
            "thread_id": row.thread, "status": result.status, "of_this_config": same, "trials": trials,
        })));
    }
    Ok(None)
}

/// The config that a proposal would change.
fn before(proposal: &Proposal) -> ServingConfig {
    let mut config = proposal.config.clone();
    for (knob, change) in &proposal.change {
        match &change.from {
            Some(value) => config.0.insert(*knob, value.clone()),
            None => config.0.remove(knob),
        };
    }
    config
}
