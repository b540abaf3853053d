//! `/task`: work that an orchestrator sends. 200 means that it was done, and nothing else does; the same id is the same task.

use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::Error;
use super::body::Body;
use super::deployments::named;
use super::error::status_of;
use super::optimize::goal_for;
use super::security::Caller;
use super::state::App;
use crate::agent::{self, OptimizeResult, Seen, StartRequest};
use crate::base::{Clock, Problem, SystemClock, ThreadId};
use crate::domain::{Deployment, Outcome};

/// Collection of tasks.
const TASKS: &str = "tasks";
/// The graph that does the work.
const GRAPH: &str = "optimize";
/// Longest id [bytes].
const ID_BYTES_MAX: usize = 256;
/// Longest time that a task is waited for [s].
const TIMEOUT_S_MAX: f64 = 86_400.0;

/// What kind of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum TaskType {
    /// Serve more from the KV cache that there is.
    OptimizeKvCache,
    /// Serve better by the goal in the parameters, or by the deployment's own limits.
    TuneInference,
}

/// A task.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(super) struct TaskRequest {
    /// The same id is the same task: it is never done twice.
    task_id: String,
    /// What kind of work.
    task_type: TaskType,
    /// `deployment` (left out: the only one), `goal` in plain words, `approved` (left out: a person is asked before users are touched).
    #[serde(default)]
    parameters: Map<String, Value>,
    /// How long the answer may take [s]; left out: 300.
    #[serde(default = "timeout_s")]
    timeout_seconds: f64,
    /// As the orchestrator orders its tasks; here every task is begun at once.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    priority: Value,
    /// Kept with the task.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    metadata: Value,
}

fn timeout_s() -> f64 {
    300.0
}

/// A task as it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct TaskRecord {
    request: TaskRequest,
    thread: ThreadId,
    created_ms: u64,
    /// Whose key sent it first; `None`: whoever operates this server.
    #[serde(default)]
    by: Option<String>,
    /// How it ended; `None`: it goes on, or waits for a person.
    end: Option<End>,
}

/// How a task ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct End {
    status: u16,
    body: Value,
}

/// What a task asks for, read.
struct Work {
    deployment: Deployment,
    goal: String,
    approved: bool,
}

/// Does a task, and answers when it is done.
///
/// 200 it is done · 409 a person is asked, or the change was taken back · 504 it goes on, ask again with the same id.
#[utoipa::path(
    post, path = "/task", tag = "orchestrator", request_body = TaskRequest,
    responses(
        (status = 200, description = "Done: `task_id`, `status`: `completed`, `result`, `execution_time_ms`", body = Object),
        (status = 409, description = "`awaiting_approval`, `rolled_back`, or another task has this id", content(
            (Object = "application/json"), (super::error::ProblemBody = "application/problem+json"),
        )),
        (status = "4XX", description = "It cannot be begun", content(
            (Object = "application/json"), (super::error::ProblemBody = "application/problem+json"),
        )),
        (status = 500, description = "It failed", body = Object),
        (status = 503, description = "This server stops; ask again with the same id", content(
            (Object = "application/json"), (super::error::ProblemBody = "application/problem+json"),
        )),
        (status = 504, description = "It goes on; ask again with the same id", body = Object),
    ),
)]
pub(super) async fn run(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Body(request): Body<TaskRequest>,
) -> Result<Response, Error> {
    check(&request)?;
    let limit = Duration::from_secs_f64(request.timeout_seconds.min(TIMEOUT_S_MAX));
    let began = Instant::now();
    let (owned, by) = (app.clone(), caller.consenter());
    let record = app.carry(async move { claimed(&owned, request, by).await }).await?;
    let id = record.request.task_id.clone();
    if let Some(end) = record.end {
        return Ok(answered(&end));
    }
    let end = match tokio::time::timeout(limit, finished(&app, &record)).await {
        Ok(end) => end?,
        Err(_) => {
            let waited_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            let hint = "it goes on: ask again with the same task_id";
            unfinished(&id, 504, "timeout", &record.thread, waited_ms, hint)
        }
    };
    Ok(answered(&end))
}

fn check(request: &TaskRequest) -> Result<(), Error> {
    let refused = |message: &str| Err(Error::InvalidRequest(message.to_owned()));
    if request.task_id.is_empty() || request.task_id.len() > ID_BYTES_MAX {
        return refused("`task_id` must have 1 to 256 bytes");
    }
    if !(request.timeout_seconds > 0.0 && request.timeout_seconds.is_finite()) {
        return refused("`timeout_seconds` must be above 0");
    }
    Ok(())
}

/// The task under this id: as it was begun before, or begun now.
async fn claimed(app: &App, request: TaskRequest, by: Option<String>) -> Result<TaskRecord, Error> {
    // Who asks for the same task meanwhile finds it begun.
    let _held = app.tasks.lock().await;
    let kept = app.agent().documents().get(TASKS, &request.task_id).await;
    let kept = kept.map_err(agent::Error::Run)?.map(|document| document.value);
    let record = match kept.and_then(|value| serde_json::from_value::<TaskRecord>(value).ok()) {
        Some(record) if !is_same(&record.request, &request) => {
            return Err(Error::TaskExists(request.task_id));
        }
        Some(record) => record,
        None => {
            // What cannot be begun takes no id.
            work(app, &request).await?;
            let thread = app.agent().fresh_thread();
            let created_ms = SystemClock.now().0;
            let record = TaskRecord { request, thread, created_ms, by, end: None };
            keep(app, &record).await?;
            record
        }
    };
    // A process that died between the record and the run left a thread that nothing ran on.
    if record.end.is_none() && !has_begun(app, &record.thread).await? {
        let work = work(app, &record.request).await?;
        let input = json!({"goal": work.goal, "deployment": work.deployment.name});
        let agent = app.agent();
        agent.create_thread_as(&record.thread).await?;
        let start = StartRequest::new(GRAPH, input, work.approved);
        let start = StartRequest { config: app.config(), by: record.by.clone(), ..start };
        agent.start_run(&record.thread, start).await?;
        app.metrics.run_started();
        app.drivers.wake(&record.thread);
    }
    Ok(record)
}

/// Whether two requests ask for the same work; how long and how urgently does not matter.
fn is_same(one: &TaskRequest, other: &TaskRequest) -> bool {
    one.task_type == other.task_type && one.parameters == other.parameters
}

async fn has_begun(app: &App, thread: &ThreadId) -> Result<bool, Error> {
    match app.agent().result(thread).await {
        Ok(_) => Ok(true),
        Err(agent::Error::UnknownThread(_)) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Reads the parameters.
async fn work(app: &App, request: &TaskRequest) -> Result<Work, Error> {
    let wrong =
        |name: &str, what: &str| Error::InvalidRequest(format!("`parameters.{name}` is no {what}"));
    let text = |name: &str| match request.parameters.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if !text.trim().is_empty() => Ok(Some(text.as_str())),
        Some(_) => Err(wrong(name, "text")),
    };
    let approved = match request.parameters.get("approved") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(approved)) => *approved,
        Some(_) => return Err(wrong("approved", "boolean")),
    };
    let goal = text("goal")?;
    let found = named(app, text("deployment")?).await?;
    let deployment: Deployment = serde_json::from_value(found["deployment"].clone())
        .map_err(|error| Error::InvalidRequest(error.to_string()))?;
    let goal = match (goal, request.task_type) {
        (Some(goal), _) => goal.to_owned(),
        (None, TaskType::TuneInference) => goal_for(&deployment),
        (None, TaskType::OptimizeKvCache) => {
            "Improve throughput by better use of the KV cache, without losing TTFT".to_owned()
        }
    };
    Ok(Work { deployment, goal, approved })
}

/// Waits until the task is over, or waits for a person.
async fn finished(app: &App, record: &TaskRecord) -> Result<End, Error> {
    let agent = app.agent();
    let journal = app.drivers.journal_end(&record.thread).await?;
    let run = agent.result(&record.thread).await?.run_id;
    let mut watch = app.drivers.watch(&record.thread, run, journal);
    let seen = loop {
        match watch.next().await? {
            Seen::Entry(_) => {}
            other => break other,
        }
    };
    let result = agent.result(&record.thread).await?;
    let id = &record.request.task_id;
    let time_ms = (result.wall_s * 1000.0) as u64;
    let end = match (result.status, seen) {
        (Outcome::Improved | Outcome::NoChange | Outcome::Done, _) => done(id, &result, time_ms),
        (Outcome::RolledBack, _) => taken_back(id, &result, time_ms),
        (Outcome::Failed, _) => failed(id, result.error.as_ref(), time_ms),
        (_, Seen::Failed(problem)) => failed(id, Some(&problem), time_ms),
        (_, Seen::Stopped) => {
            let hint = "ask again with the same task_id after the restart";
            return Ok(unfinished(id, 503, "stopping", &record.thread, time_ms, hint));
        }
        (Outcome::Running | Outcome::Interrupted, _) => {
            let hint = "answer the run's question, or send `approved` with a task of another id";
            return Ok(unfinished(id, 409, "awaiting_approval", &record.thread, time_ms, hint));
        }
    };
    keep(app, &TaskRecord { end: Some(end.clone()), ..record.clone() }).await?;
    Ok(end)
}

fn done(id: &str, result: &OptimizeResult, time_ms: u64) -> End {
    let body = json!({
        "task_id": id, "status": "completed", "result": result, "execution_time_ms": time_ms,
    });
    End { status: 200, body }
}

fn taken_back(id: &str, result: &OptimizeResult, time_ms: u64) -> End {
    let body = json!({
        "task_id": id, "status": "rolled_back", "result": result, "execution_time_ms": time_ms,
        "error": "the change was tried on users and taken back",
    });
    End { status: 409, body }
}

fn failed(id: &str, problem: Option<&Problem>, time_ms: u64) -> End {
    let status =
        problem.map_or(StatusCode::INTERNAL_SERVER_ERROR, |problem| status_of(&problem.code));
    let body = json!({
        "task_id": id, "status": "failed", "execution_time_ms": time_ms,
        "error": problem.map(ToString::to_string), "code": problem.map(|problem| &problem.code),
    });
    End { status: status.as_u16(), body }
}

fn unfinished(
    id: &str,
    status: u16,
    word: &str,
    thread: &ThreadId,
    time_ms: u64,
    hint: &str,
) -> End {
    let body = json!({
        "task_id": id, "status": word, "thread_id": thread, "execution_time_ms": time_ms,
        "error": hint,
    });
    End { status, body }
}

fn answered(end: &End) -> Response {
    let status = StatusCode::from_u16(end.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, Json(&end.body)).into_response()
}

async fn keep(app: &App, record: &TaskRecord) -> Result<(), Error> {
    let documents = app.agent().documents();
    let put = documents.put(TASKS, &record.request.task_id, None, json!(record)).await;
    put.map_err(agent::Error::Run)?;
    Ok(())
}
