//! Runs: made and left alone, made and waited for, cancelled.

use axum::extract::{Path, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::follow::{self, Outcome};
use super::launch::{Launched, launch};
use super::order::{OnDisconnect, Ordered, RunRequest, Sender};
use super::record::{Ended, Run, RunRecord};
use super::refusal::{Detail, Input, Params, Refusal};
use super::register;
use super::threads::known;
use crate::api::Error;
use crate::api::security::Caller;
use crate::api::state::App;
use crate::base::{RunId, ThreadId};

/// Where a run is, and where it can be waited for.
pub(super) type Places = [(HeaderName, String); 2];

/// Where a run is.
fn place(run: &RunRecord) -> String {
    format!("/threads/{}/runs/{}", run.thread, run.id)
}

/// Where a run is, and where it can be gone on with: `join` or `stream`.
pub(super) fn places(run: &RunRecord, how: &str) -> Places {
    let place = place(run);
    [(header::LOCATION, format!("{place}/{how}")), (header::CONTENT_LOCATION, place)]
}

/// Starts a run and does not wait for it.
#[utoipa::path(
    post, path = "/threads/{thread_id}/runs", tag = "runs", request_body = RunRequest,
    params(("thread_id" = String, Path, description = "The thread")),
    responses((status = 200, body = Run), (status = "4XX", body = Detail)),
)]
pub(in crate::api) async fn create(
    State(app): State<App>,
    Path(thread): Path<String>,
    Ordered(request): Ordered,
) -> Result<([(HeaderName, String); 1], Json<Run>), Refusal> {
    let run = launch(&app, Some(&thread), &request).await?.run;
    let shown = Json(run.shown(false, app.register.url()));
    Ok(([(header::CONTENT_LOCATION, place(&run))], shown))
}

/// Starts a run on a thread of its own and does not wait for it.
#[utoipa::path(
    post, path = "/runs", tag = "runs", request_body = RunRequest,
    responses((status = 200, body = Run), (status = "4XX", body = Detail)),
)]
pub(in crate::api) async fn create_stateless(
    State(app): State<App>,
    Ordered(request): Ordered,
) -> Result<([(HeaderName, String); 1], Json<Run>), Refusal> {
    let run = launch(&app, None, &request).await?.run;
    let shown = Json(run.shown(false, app.register.url()));
    Ok(([(header::CONTENT_LOCATION, format!("/runs/{}", run.id))], shown))
}

/// Starts several runs, each on a thread of its own. None is started if one is refused for its form.
#[utoipa::path(
    post, path = "/runs/batch", tag = "runs", request_body = Vec<RunRequest>,
    responses((status = 200, body = Vec<Run>), (status = "4XX", body = Detail)),
)]
pub(in crate::api) async fn create_batch(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Input(mut requests): Input<Vec<RunRequest>>,
) -> Result<Json<Vec<Run>>, Refusal> {
    if !(1..=100).contains(&requests.len()) {
        return Err(Refusal::invalid("a batch has 1 to 100 runs"));
    }
    for request in &mut requests {
        request.sender = Sender::from(&caller);
        let assistant = super::assistants::named(app.agent(), &request.assistant_id).await?;
        request.check(&app, &assistant, true).await?;
    }
    let mut shown = Vec::with_capacity(requests.len());
    for request in &requests {
        shown.push(launch(&app, None, request).await?.run.shown(false, app.register.url()));
    }
    Ok(Json(shown))
}

/// Runs a graph, answers its question or lets it go on, and waits until it is over or asks again.
///
/// The graph's output; with `__interrupt__` when it asks, with `__error__` when it failed.
#[utoipa::path(
    post, path = "/threads/{thread_id}/runs/wait", tag = "runs", request_body = RunRequest,
    params(("thread_id" = String, Path, description = "The thread")),
    responses(
        (status = 200, body = ref("#/components/schemas/RunOutput")),
        (status = "4XX", body = Detail),
        (status = 503, description = "The server is stopping", body = Detail),
    ),
)]
pub(in crate::api) async fn wait(
    State(app): State<App>,
    Path(thread): Path<String>,
    Ordered(request): Ordered,
) -> Result<(Places, Json<Value>), Refusal> {
    waited(app, Some(&thread), request).await
}

/// Runs a graph on a thread of its own and waits until it is over or asks.
#[utoipa::path(
    post, path = "/runs/wait", tag = "runs", request_body = RunRequest,
    responses(
        (status = 200, body = ref("#/components/schemas/RunOutput")),
        (status = "4XX", body = Detail),
        (status = 503, description = "The server is stopping", body = Detail),
    ),
)]
pub(in crate::api) async fn wait_stateless(
    State(app): State<App>,
    Ordered(request): Ordered,
) -> Result<(Places, Json<Value>), Refusal> {
    waited(app, None, request).await
}

async fn waited(
    app: App,
    thread: Option<&str>,
    request: RunRequest,
) -> Result<(Places, Json<Value>), Refusal> {
    let Launched { run, outcome } = launch(&app, thread, &request).await?;
    let guard = Attended::new(&app, &run, request.on_disconnect, &request.sender);
    let outcome = register::ended(outcome).await;
    guard.stays();
    let Outcome { body, .. } = outcome.ok_or(Error::Stopping)?;
    Ok((places(&run, "join"), Json(body)))
}

/// Waits for a run. The values of its thread then; with `__error__` when it failed.
#[utoipa::path(
    get, path = "/threads/{thread_id}/runs/{run_id}/join", tag = "runs",
    params(
        ("thread_id" = String, Path, description = "The thread"),
        ("run_id" = String, Path, description = "The run"),
        ("cancel_on_disconnect" = Option<bool>, Query, description = "Whether the run is cancelled when the one who waits goes"),
    ),
    responses((status = 200, body = ref("#/components/schemas/RunOutput")), (status = "4XX", body = Detail)),
)]
pub(in crate::api) async fn join(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path((thread, run)): Path<(String, String)>,
    Params(params): Params<JoinParams>,
) -> Result<(Places, Json<Value>), Refusal> {
    let thread = known(&app, &thread).await?;
    let run = register::run(app.agent(), &thread, &run).await?;
    let places = places(&run, "join");
    if let Some(following) = app.register.following(&run.id) {
        let guard = Attended::new(&app, &run, params.on_disconnect(), &Sender::from(&caller));
        let outcome = register::ended(following).await;
        guard.stays();
        return Ok((places, Json(outcome.ok_or(Error::Stopping)?.body)));
    }
    let run = register::run(app.agent(), &thread, run.id.as_str()).await?;
    let body = match run.ended {
        Some(Ended::Failed(problem)) => follow::failed(problem).body,
        Some(_) => {
            let state = app.agent().look(&thread).await?;
            json!(state.map(|state| follow::answered(&app, &state)).unwrap_or_default())
        }
        None => return Err(Error::Stopping.into()),
    };
    Ok((places, Json(body)))
}

/// How to wait for a run.
#[derive(Debug, Deserialize)]
pub(in crate::api) struct JoinParams {
    #[serde(default)]
    cancel_on_disconnect: Option<String>,
}

impl JoinParams {
    fn on_disconnect(&self) -> OnDisconnect {
        on_disconnect(self.cancel_on_disconnect.as_deref())
    }
}

/// What a query says about those who go.
pub(super) fn on_disconnect(cancel: Option<&str>) -> OnDisconnect {
    if is_true(cancel) { OnDisconnect::Cancel } else { OnDisconnect::Continue }
}

fn is_true(word: Option<&str>) -> bool {
    matches!(word, Some("1" | "true" | "True"))
}

/// Somebody who waits for a run; where that is wanted, the run is cancelled when they go.
pub(super) struct Attended {
    run: Option<(App, ThreadId, RunId)>,
    /// In whose name it is cancelled then.
    by: Option<String>,
}

impl Attended {
    pub(super) fn new(
        app: &App,
        run: &RunRecord,
        on_disconnect: OnDisconnect,
        sender: &Sender,
    ) -> Self {
        let cancels = on_disconnect == OnDisconnect::Cancel;
        let run = cancels.then(|| (app.clone(), run.thread.clone(), run.id.clone()));
        Self { run, by: sender.by.clone() }
    }

    /// The run is over, or the server goes.
    pub(super) fn stays(mut self) {
        self.run = None;
    }
}

impl Drop for Attended {
    fn drop(&mut self) {
        let Some((app, thread, run)) = self.run.take() else { return };
        let by = self.by.take();
        tokio::spawn(async move {
            if let Err(refusal) = stop(&app, &thread, &run, by.as_deref()).await {
                tracing::warn!(%run, "not cancelled: {}", refusal.detail());
            }
        });
    }
}

/// Cancels a run in the name of `by` and waits until it has ended. `false`: it had ended before.
pub(super) async fn stop(
    app: &App,
    thread: &ThreadId,
    run: &RunId,
    by: Option<&str>,
) -> Result<bool, Refusal> {
    let record = {
        let _held = app.register.lock(thread).await;
        match register::run(app.agent(), thread, run.as_str()).await {
            Ok(record) => record,
            Err(_) => return Ok(false),
        }
    };
    if record.ended.is_some() {
        return Ok(false);
    }
    let following = app.register.following(run);
    match &record.execution {
        None => {
            follow::finish(app, thread, run, &follow::cancelled()).await?;
            app.register.recalled.notify_waiters();
        }
        Some(execution) => {
            // One that ended just now cannot be cancelled, and need not be.
            if app.agent().cancel_run_as(thread, &execution.run, by).await.is_ok() {
                app.drivers.wake(thread);
            }
        }
    }
    if let Some(following) = following {
        register::ended(following).await;
    }
    Ok(true)
}

/// Forgets a run that has ended. Returns its checkpoints, if it wrote any: after the first, up to the second.
pub(super) async fn forget(
    app: &App,
    thread: &ThreadId,
    run: &RunId,
) -> Result<Option<(u64, u64)>, Refusal> {
    let Ok(record) = register::run(app.agent(), thread, run.as_str()).await else {
        return Ok(None);
    };
    register::remove_run(app.agent(), thread, run).await?;
    let Some(execution) = record.execution else { return Ok(None) };
    let state = app.agent().look(thread).await?;
    let own = state.filter(|state| state.run == execution.run && state.seq > execution.seq_from);
    Ok(own.map(|state| (execution.seq_from, state.seq)))
}

/// Cancels a run, forgets it, and takes back what it wrote.
async fn roll_back(
    app: &App,
    thread: &ThreadId,
    run: &RunId,
    by: Option<&str>,
) -> Result<(), Refusal> {
    stop(app, thread, run, by).await?;
    let _held = app.register.lock(thread).await;
    let Some((from, to)) = forget(app, thread, run).await? else { return Ok(()) };
    let mut record = register::thread(app.agent(), thread).await?;
    if from == 0 {
        // It was the first: nothing was there before.
        app.agent().delete(thread).await?;
        app.agent().create_thread_as(thread).await?;
        (record.journal_to, record.ran) = (0, false);
        record.rolled_back.clear();
    } else {
        app.agent().rewind(thread, from).await?;
        record.rolled_back.push((from, to));
    }
    register::put_thread(app.agent(), &record).await
}

/// How to cancel.
#[derive(Debug, Default, Deserialize)]
pub(in crate::api) struct CancelParams {
    /// Whether to wait until it has ended.
    #[serde(default)]
    wait: Option<String>,
    #[serde(default)]
    action: CancelAction,
}

/// What becomes of what a cancelled run wrote.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::api) enum CancelAction {
    /// It stays.
    #[default]
    Interrupt,
    /// It is taken back, and the run forgotten.
    Rollback,
}

const NOTHING_TO_CANCEL: &str = "No matching runs to cancel. Please verify the thread ID and run IDs are correct, and the runs haven't been deleted or completed.";

/// Cancels a run. 202: it will end; 204: it has (`wait`).
#[utoipa::path(
    post, path = "/threads/{thread_id}/runs/{run_id}/cancel", tag = "runs",
    params(
        ("thread_id" = String, Path, description = "The thread"),
        ("run_id" = String, Path, description = "The run"),
        ("wait" = Option<bool>, Query, description = "Whether to wait until it has ended"),
        ("action" = Option<String>, Query, description = "What becomes of what it wrote: `interrupt` or `rollback`"),
    ),
    responses((status = 202), (status = 204), (status = "4XX", body = Detail)),
)]
pub(in crate::api) async fn cancel(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path((thread, run)): Path<(String, String)>,
    Params(params): Params<CancelParams>,
) -> Result<StatusCode, Refusal> {
    let thread = known(&app, &thread).await?;
    let record = register::run(app.agent(), &thread, &run).await?;
    if record.ended.is_some() {
        return Err(Refusal::missing(NOTHING_TO_CANCEL.to_owned()));
    }
    let waits = is_true(params.wait.as_deref());
    let by = caller.consenter();
    let cancelled = cancelled(app, thread, record.id, params.action, by);
    // One that has not begun is quick to cancel.
    if waits || record.execution.is_none() {
        cancelled.await?;
        return Ok(if waits { StatusCode::NO_CONTENT } else { StatusCode::ACCEPTED });
    }
    tokio::spawn(async move {
        if let Err(refusal) = cancelled.await {
            tracing::warn!("not cancelled: {}", refusal.detail());
        }
    });
    Ok(StatusCode::ACCEPTED)
}

async fn cancelled(
    app: App,
    thread: ThreadId,
    run: RunId,
    action: CancelAction,
    by: Option<String>,
) -> Result<(), Refusal> {
    match action {
        CancelAction::Interrupt => stop(&app, &thread, &run, by.as_deref()).await.map(drop),
        CancelAction::Rollback => roll_back(&app, &thread, &run, by.as_deref()).await,
    }
}

/// Which runs to cancel.
#[derive(Debug, Deserialize, ToSchema)]
pub(in crate::api) struct RunsCancel {
    /// Those with this status on every thread: `pending`, `running` or `all`.
    #[serde(default)]
    status: Option<CancelStatus>,
    /// Those of this thread.
    #[serde(default)]
    thread_id: Option<String>,
    /// Those of the thread with these ids.
    #[serde(default)]
    run_ids: Option<Vec<String>>,
}

/// Which runs are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::api) enum CancelStatus {
    /// Those that have not begun.
    Pending,
    /// Those that have.
    Running,
    /// Both.
    All,
}

/// Cancels several runs and waits until they have ended.
#[utoipa::path(
    post, path = "/runs/cancel", tag = "runs", request_body = RunsCancel,
    params(("action" = Option<String>, Query, description = "What becomes of what they wrote: `interrupt` or `rollback`")),
    responses((status = 204), (status = "4XX", body = Detail)),
)]
pub(in crate::api) async fn cancel_many(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Params(params): Params<CancelParams>,
    Input(request): Input<RunsCancel>,
) -> Result<StatusCode, Refusal> {
    let mut open: Vec<(ThreadId, RunId)> = Vec::new();
    match (&request.status, &request.thread_id, &request.run_ids) {
        (Some(status), None, None) => {
            for record in register::unfinished(app.agent()).await? {
                for id in record.open {
                    let run = register::run(app.agent(), &record.thread, id.as_str()).await?;
                    let begun = super::run_list::began(&app, &run).await?;
                    let fits = match status {
                        CancelStatus::Pending => !begun,
                        CancelStatus::Running => begun,
                        CancelStatus::All => true,
                    };
                    if fits {
                        open.push((record.thread.clone(), id));
                    }
                }
            }
        }
        (None, Some(thread), Some(ids)) => {
            let thread = known(&app, thread).await?;
            let record = register::thread(app.agent(), &thread).await?;
            let wanted = record.open.into_iter().filter(|id| ids.contains(&id.0));
            open.extend(wanted.map(|id| (thread.clone(), id)));
        }
        _ => return Err(Refusal::invalid("give `status`, or `thread_id` and `run_ids`")),
    }
    if open.is_empty() {
        return Err(Refusal::missing(NOTHING_TO_CANCEL.to_owned()));
    }
    for (thread, run) in open {
        cancelled(app.clone(), thread, run, params.action, caller.consenter()).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}
