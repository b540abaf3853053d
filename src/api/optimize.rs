//! `/optimize`: a goal in, a better config out, with a person's approval between.

use axum::extract::{Path, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::Error;
use super::body::Body;
use super::security::Caller;
use super::state::App;
use crate::agent::{OptimizeResult, StartRequest};
use crate::base::ThreadId;
use crate::domain::{Deployment, Metric, Objective, Statistic, Target};

/// The graph behind these routes.
const GRAPH: &str = "optimize";

/// What to reach.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OptimizeRequest {
    /// In plain words: "p95 TTFT under 300 ms, no less throughput".
    pub(super) goal: String,
    /// Deployment; left out: the one the goal names, or the only one.
    #[serde(default)]
    pub(super) deployment: Option<String>,
    /// Whether the rollout is approved beforehand.
    #[serde(default)]
    pub(super) approved: bool,
}

/// A run that has begun, or goes on.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Accepted {
    /// Ask for it under `/optimize/{thread_id}`.
    thread_id: String,
    /// The run.
    run_id: String,
}

/// What begins a run in the background is answered with.
pub(super) type Begun = (StatusCode, [(HeaderName, String); 1], Json<Accepted>);

/// Starts a run in the background.
#[utoipa::path(
    post, path = "/optimize", tag = "optimization", request_body = OptimizeRequest,
    responses((status = 202, body = Accepted), (status = "4XX", body = super::error::ProblemBody)),
)]
pub(super) async fn start(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Body(request): Body<OptimizeRequest>,
) -> Result<Begun, Error> {
    begin(&app, &caller, request, json!({})).await
}

/// Starts a run; `input`: what the graph is given besides the request.
pub(super) async fn begin(
    app: &App,
    caller: &Caller,
    request: OptimizeRequest,
    mut input: Value,
) -> Result<Begun, Error> {
    if request.goal.trim().is_empty() {
        return Err(Error::InvalidRequest("`goal` says nothing".to_owned()));
    }
    input["goal"] = json!(request.goal);
    if let Some(deployment) = request.deployment {
        input["deployment"] = json!(deployment);
    }
    let start = StartRequest::new(GRAPH, input, request.approved);
    let start = StartRequest { config: app.config(), by: caller.consenter(), ..start };
    let owned = app.clone();
    let begun = app.carry(async move {
        let thread = owned.agent().create_thread().await?;
        let run = owned.agent().start_run(&thread, start).await?;
        owned.metrics.run_started();
        owned.drivers.wake(&thread);
        Ok::<_, Error>((thread, run))
    });
    let (thread, run) = begun.await?;
    let location = [(header::LOCATION, format!("/optimize/{thread}"))];
    let accepted = Accepted { thread_id: thread.to_string(), run_id: run.to_string() };
    Ok((StatusCode::ACCEPTED, location, Json(accepted)))
}

/// What a run has come to so far: `status` is `running` while it goes on, `interrupted` while it waits for an answer.
#[utoipa::path(
    get, path = "/optimize/{thread_id}", tag = "optimization",
    params(("thread_id" = String, Path, description = "The thread")),
    responses(
        (status = 200, body = ref("#/components/schemas/OptimizeResult")),
        (status = 404, body = super::error::ProblemBody),
    ),
)]
pub(super) async fn show(
    State(app): State<App>,
    Path(thread): Path<ThreadId>,
) -> Result<Json<OptimizeResult>, Error> {
    Ok(Json(app.agent().result(&thread).await?))
}

/// Runs that are listed at most, the newest.
const LISTED_MAX: usize = 1_000;

/// What every run came to, the one that changed last first.
#[utoipa::path(
    get, path = "/optimize/history", tag = "optimization",
    responses((status = 200, description = "Each as under `/optimize/{thread_id}`", body = Vec<Object>)),
)]
pub(super) async fn history(State(app): State<App>) -> Result<Json<Vec<OptimizeResult>>, Error> {
    let mut results = Vec::new();
    for thread in app.agent().threads(LISTED_MAX).await? {
        if thread.graph.as_deref() != Some(GRAPH) {
            continue;
        }
        match app.agent().result(&thread.thread).await {
            Ok(result) => results.push(result),
            // Deleted meanwhile.
            Err(crate::agent::Error::UnknownThread(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Json(results))
}

/// The goal of a caller who names none: the deployment's own limits; where it has none, to be faster.
pub(super) fn goal_for(deployment: &Deployment) -> String {
    let limits = [
        ("TTFT", deployment.limits.ttft_p95_ms),
        ("TPOT", deployment.limits.tpot_p95_ms),
        ("E2E latency", deployment.limits.e2e_p95_ms),
    ];
    let bounds: Vec<String> = limits
        .into_iter()
        .filter_map(|(metric, ms)| Some(format!("p95 {metric} under {} ms", ms?)))
        .collect();
    match bounds.is_empty() {
        true => "Improve TTFT, without losing throughput".to_owned(),
        false => format!("{}, without losing throughput", bounds.join(", ")),
    }
}

/// The same as an objective.
pub(super) fn objective_for(deployment: &Deployment) -> Objective {
    let limits = [
        (Metric::Ttft, deployment.limits.ttft_p95_ms),
        (Metric::Tpot, deployment.limits.tpot_p95_ms),
        (Metric::E2e, deployment.limits.e2e_p95_ms),
    ];
    let bounds = limits
        .into_iter()
        .filter_map(|(metric, ms)| Some(Target { metric, statistic: Statistic::P95, max_ms: ms? }));
    let targets: Vec<Target> = bounds.collect();
    Objective {
        deployment: deployment.name.clone(),
        improve: targets.is_empty().then_some(Metric::Ttft),
        targets,
        keep: vec![Metric::Throughput],
    }
}

/// Approves the change that is asked about; the rollout begins.
#[utoipa::path(
    post, path = "/optimize/{thread_id}/approve", tag = "optimization",
    params(("thread_id" = String, Path, description = "The thread")),
    responses(
        (status = 202, body = Accepted),
        (status = 404, body = super::error::ProblemBody),
        (status = 409, description = "Nothing is asked", body = super::error::ProblemBody),
        (status = 422, description = "Something else is asked", body = super::error::ProblemBody),
    ),
)]
pub(super) async fn approve(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(thread): Path<ThreadId>,
) -> Result<(StatusCode, Json<Accepted>), Error> {
    answer(&app, &caller, &thread, "approve").await
}

/// Rejects the change that is asked about; nothing is rolled out.
#[utoipa::path(
    post, path = "/optimize/{thread_id}/reject", tag = "optimization",
    params(("thread_id" = String, Path, description = "The thread")),
    responses(
        (status = 202, body = Accepted),
        (status = 404, body = super::error::ProblemBody),
        (status = 409, description = "Nothing is asked", body = super::error::ProblemBody),
        (status = 422, description = "Something else is asked", body = super::error::ProblemBody),
    ),
)]
pub(super) async fn reject(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(thread): Path<ThreadId>,
) -> Result<(StatusCode, Json<Accepted>), Error> {
    answer(&app, &caller, &thread, "reject").await
}

async fn answer(
    app: &App,
    caller: &Caller,
    thread: &ThreadId,
    word: &str,
) -> Result<(StatusCode, Json<Accepted>), Error> {
    // Before the answer: afterwards the run may be over already, and another may have begun.
    let state = app.agent().look(thread).await?;
    let run = state.ok_or_else(|| Error::NothingAsked(thread.clone()))?.run;
    app.agent().answer_as(thread, json!(word), caller.consenter().as_deref()).await?;
    app.drivers.wake(thread);
    let accepted = Accepted { thread_id: thread.to_string(), run_id: run.to_string() };
    Ok((StatusCode::ACCEPTED, Json(accepted)))
}
