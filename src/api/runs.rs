//! `/threads/{thread_id}/runs`: run a graph and wait for its end, or watch it as it happens.

use std::collections::BTreeSet;
use std::convert::Infallible;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::{Stream, stream};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::Error;
use super::body::Body;
use super::state::App;
use super::threads::interrupts;
use crate::agent::{JournalEntry, Seen, Watch};
use crate::base::{Coded, Problem, ThreadId};

/// A run to start, or an answer that lets one go on. Fields that are not named here mean nothing yet.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct RunRequest {
    /// Name of a graph: see `/graphs`.
    assistant_id: String,
    /// The graph's input.
    #[serde(default)]
    input: Option<Value>,
    /// Read-only values of the run: `approval` is `ask` or `never`.
    #[serde(default)]
    context: Map<String, Value>,
    /// Answers the open question instead of starting a run.
    #[serde(default)]
    command: Option<Command>,
    /// What a stream sends: `updates`, `custom`; left out: both.
    #[serde(default)]
    stream_mode: Option<StreamMode>,
}

/// An answer.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Command {
    /// The answer to the open question.
    resume: Value,
}

/// One kind of event, or several.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged)]
pub(super) enum StreamMode {
    /// One.
    One(Mode),
    /// Several.
    Many(BTreeSet<Mode>),
}

/// A kind of event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Mode {
    /// What each node wrote when it finished.
    Updates,
    /// What nodes say while they run.
    Custom,
}

/// Runs a graph, or answers its question, and waits until it is over or asks again.
///
/// The graph's output; with `__interrupt__` when it asks, with `__error__` when it failed.
#[utoipa::path(
    post, path = "/threads/{thread_id}/runs/wait", tag = "runs", request_body = RunRequest,
    params(("thread_id" = String, Path, description = "The thread")),
    responses(
        (status = 200, body = Object),
        (status = "4XX", body = super::error::ProblemBody),
        (status = 503, description = "The server is stopping", body = super::error::ProblemBody),
    ),
)]
pub(super) async fn wait(
    State(app): State<App>,
    Path(thread): Path<ThreadId>,
    Body(request): Body<RunRequest>,
) -> Result<Json<Value>, Error> {
    let mut watch = begin(&app, &thread, request).await?;
    loop {
        match watch.next().await? {
            Seen::Entry(entry) => match entry.kind.as_str() {
                "RUN_FINISHED" => return Ok(Json(entry.data["output"].clone())),
                "RUN_ERROR" => return Ok(Json(json!({"__error__": failure(&entry.data)}))),
                "RUN_CANCELLED" => return Ok(Json(json!({"__error__": cancelled(&entry.data)}))),
                _ => {}
            },
            Seen::Rested => {
                let state = app.agent().state(&thread).await?;
                let asked = interrupts(&state);
                let mut values: Map<String, Value> = state.values.into_iter().collect();
                values.insert("__interrupt__".to_owned(), Value::Array(asked));
                return Ok(Json(Value::Object(values)));
            }
            Seen::Failed(problem) => return Err(Error::Run(problem)),
            Seen::Stopped => return Err(Error::Stopping),
        }
    }
}

/// Runs a graph, or answers its question, and sends what happens.
///
/// First `metadata`, then `updates` (what each node wrote) and `custom` (what nodes say while they run), `error` when it
/// failed. Ids are positions in the thread's journal.
#[utoipa::path(
    post, path = "/threads/{thread_id}/runs/stream", tag = "runs", request_body = RunRequest,
    params(("thread_id" = String, Path, description = "The thread")),
    responses(
        (status = 200, description = "Server-sent events", content_type = "text/event-stream", body = String),
        (status = "4XX", body = super::error::ProblemBody),
    ),
)]
pub(super) async fn stream(
    State(app): State<App>,
    Path(thread): Path<ThreadId>,
    Body(request): Body<RunRequest>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Error> {
    let modes = match &request.stream_mode {
        None => BTreeSet::from([Mode::Updates, Mode::Custom]),
        Some(StreamMode::One(mode)) => BTreeSet::from([*mode]),
        Some(StreamMode::Many(modes)) => modes.clone(),
    };
    let watch = begin(&app, &thread, request).await?;
    let metadata = json!({"run_id": watch.run(), "thread_id": thread, "attempt": 1});
    let first = Event::default().event("metadata").data(metadata.to_string());
    let events = stream::unfold(Some((watch, modes, Some(first))), |state| async move {
        let (mut watch, modes, first) = state?;
        if let Some(first) = first {
            return Some((Ok(first), Some((watch, modes, None))));
        }
        let (event, over) = next(&mut watch, &modes).await?;
        Some((Ok(event), (!over).then_some((watch, modes, None))))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}

/// Posts what is asked for, and watches it from before it was posted.
async fn begin(app: &App, thread: &ThreadId, request: RunRequest) -> Result<Watch, Error> {
    let agent = app.agent();
    let state = agent.look(thread).await?;
    let journal = app.drivers.journal_end(thread).await?;
    let run = match (request.command, request.input, state) {
        (Some(_), Some(_), _) => {
            let detail = "`input` starts a run and `command` answers one: give one of them";
            return Err(Error::InvalidRequest(detail.to_owned()));
        }
        (Some(command), None, Some(state)) => {
            agent.answer(thread, command.resume).await?;
            state.run
        }
        (Some(_), None, None) => return Err(Error::NothingAsked(thread.clone())),
        (None, input, _) => {
            let input = input.unwrap_or_else(|| json!({}));
            let graph = &request.assistant_id;
            let run = agent.start_with(thread, graph, input, request.context, app.config()).await?;
            app.metrics.run_started();
            run
        }
    };
    Ok(app.drivers.watch(thread, run, journal))
}

/// The next event to send, and whether it is the last; `None`: there is none.
async fn next(watch: &mut Watch, modes: &BTreeSet<Mode>) -> Option<(Event, bool)> {
    loop {
        let problem = match watch.next().await {
            Ok(Seen::Entry(entry)) if is_end(&entry) => return None,
            Ok(Seen::Entry(entry)) => match event(&entry, modes) {
                Some(event) => {
                    return Some((event.id(entry.seq.to_string()), entry.kind == "RUN_ERROR"));
                }
                None => continue,
            },
            Ok(Seen::Rested) => return None,
            Ok(Seen::Failed(problem)) => problem,
            Ok(Seen::Stopped) => Error::Stopping.problem(),
            Err(error) => error.problem(),
        };
        let data = json!({"error": problem.code, "message": problem.message, "hint": problem.hint});
        return Some((Event::default().event("error").data(data.to_string()), true));
    }
}

fn is_end(entry: &JournalEntry) -> bool {
    matches!(entry.kind.as_str(), "RUN_FINISHED" | "RUN_CANCELLED")
}

fn event(entry: &JournalEntry, modes: &BTreeSet<Mode>) -> Option<Event> {
    let data = &entry.data;
    let node = data["node"].as_str().unwrap_or_default();
    let (name, data) = match entry.kind.as_str() {
        "STEP_FINISHED" if modes.contains(&Mode::Updates) && data["error"].is_null() => {
            ("updates", json!({node: data["writes"]}))
        }
        "INTERRUPT" if modes.contains(&Mode::Updates) => {
            let asked = json!({"id": data["id"], "value": data["question"]});
            ("updates", json!({"__interrupt__": [asked]}))
        }
        "CUSTOM" if modes.contains(&Mode::Custom) => ("custom", data["data"].clone()),
        "RUN_ERROR" => ("error", failure(data)),
        _ => return None,
    };
    Some(Event::default().event(name).data(data.to_string()))
}

/// A failed run as LangGraph's wire has it.
fn failure(data: &Value) -> Value {
    let problem: Option<Problem> = serde_json::from_value(data["problem"].clone()).ok();
    let (code, message, hint) = match problem {
        Some(problem) => (problem.code, problem.message, problem.hint),
        None => ("agent.run_failed".to_owned(), data.to_string(), String::new()),
    };
    json!({"error": code, "message": message, "hint": hint, "node": data["node"]})
}

fn cancelled(data: &Value) -> Value {
    json!({"error": "agent.run_cancelled", "message": format!("cancelled by {}", data["by"])})
}
