//! `/threads/{id}/…`: what a person does to a thread beside LangGraph's protocol, by the same doors as the command line.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

use super::Error;
use super::body::Body;
use super::error::ProblemBody;
use super::params::Params;
use super::state::App;
use crate::agent::{self, JournalEntry};
use crate::base::ThreadId;

/// Entries in one answer at most.
const ENTRIES_MAX: usize = 1_000;

/// A signal that was taken.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Signalled {
    /// The thread.
    thread_id: String,
    /// The run that gets it.
    run_id: String,
    /// Its name.
    signal: String,
}

/// Hands a value to the node that waits for that signal (`wait: {signal: name}`), now or next in this run. The body is the value;
/// without one it is `null`.
#[utoipa::path(
    post, path = "/threads/{thread_id}/signals/{name}", tag = "threads", operation_id = "signal_thread",
    params(
        ("thread_id" = String, Path, description = "The thread"),
        ("name" = String, Path, description = "The signal, as the graph names it"),
    ),
    request_body = Value,
    responses(
        (status = 202, description = "It is durable, and the run goes on with it", body = Signalled),
        (status = "4XX", body = ProblemBody),
    ),
)]
pub(super) async fn signal(
    State(app): State<App>,
    Path((thread, name)): Path<(String, String)>,
    payload: Result<Option<Json<Value>>, JsonRejection>,
) -> Result<(StatusCode, Json<Signalled>), Error> {
    let payload = payload.map_err(|rejection| Error::Body {
        status: rejection.status(),
        detail: rejection.body_text(),
    })?;
    let payload = payload.map_or(Value::Null, |Json(payload)| payload);
    let thread = ThreadId(thread);
    let run = app.agent().signal(&thread, &name, payload).await?;
    app.drivers.wake(&thread);
    let signalled = Signalled { thread_id: thread.0, run_id: run.0, signal: name };
    Ok((StatusCode::ACCEPTED, Json(signalled)))
}

/// Where to fork.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Fork {
    /// The checkpoint, by its number in the history; left out: the newest.
    seq: Option<u64>,
}

/// A thread that stands somewhere.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Standing {
    /// The thread.
    thread_id: String,
    /// Its run.
    run_id: String,
    /// Its newest checkpoint.
    seq: u64,
    /// `interrupted` while something is held; else as the checkpoint was.
    #[schema(value_type = String)]
    status: agent::ThreadStatus,
    /// Nodes that come next.
    next: Vec<String>,
    /// Those of them that start only when somebody lets the run go on: a run without an input does.
    held: Vec<String>,
}

/// Makes a new thread with the history up to a checkpoint. What had finished there is not run again; what was open is held.
#[utoipa::path(
    post, path = "/threads/{thread_id}/fork", tag = "threads", operation_id = "fork_thread", request_body = Fork,
    params(("thread_id" = String, Path, description = "The thread")),
    responses((status = 200, body = Standing), (status = "4XX", body = ProblemBody)),
)]
pub(super) async fn fork(
    State(app): State<App>,
    Path(thread): Path<String>,
    Body(fork): Body<Fork>,
) -> Result<Json<Standing>, Error> {
    let state = app.agent().fork(&ThreadId(thread), fork.seq).await?;
    Ok(Json(Standing {
        thread_id: state.thread.0,
        run_id: state.run.0,
        seq: state.seq,
        status: state.status,
        next: state.next,
        held: state.held,
    }))
}

/// What to compare with.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DiffParams {
    /// Checkpoint of the thread; left out: the newest.
    seq: Option<u64>,
    /// The other thread; left out: the same one.
    with: Option<String>,
    /// Checkpoint of the other; left out: the newest.
    with_seq: Option<u64>,
}

/// Compares two threads, or two checkpoints: the newest checkpoint that both have in common, and what differs.
#[utoipa::path(
    get, path = "/threads/{thread_id}/diff", tag = "threads", operation_id = "diff_threads",
    params(("thread_id" = String, Path, description = "The thread"), DiffParams),
    responses(
        (status = 200, description = "`common_seq`, `channels`, `visits`, `next`", body = Object),
        (status = "4XX", body = ProblemBody),
    ),
)]
pub(super) async fn diff(
    State(app): State<App>,
    Path(thread): Path<String>,
    Params(wanted): Params<DiffParams>,
) -> Result<Json<Value>, Error> {
    let other = ThreadId(wanted.with.unwrap_or_else(|| thread.clone()));
    let thread = ThreadId(thread);
    let diff = app.agent().diff((&thread, wanted.seq), (&other, wanted.with_seq)).await?;
    Ok(Json(json!(diff)))
}

/// What stays.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = HistoryPrune)]
#[serde(deny_unknown_fields)]
pub(super) struct Prune {
    /// So many of the newest checkpoints, 1 or more.
    keep: usize,
}

/// What went.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = HistoryPruned)]
pub(super) struct Pruned {
    /// So many checkpoints.
    checkpoints_gone: u64,
}

/// Forgets old checkpoints of a thread. Those of an open run, and the one before it, stay.
#[utoipa::path(
    post, path = "/threads/{thread_id}/prune", tag = "threads", operation_id = "prune_thread", request_body = Prune,
    params(("thread_id" = String, Path, description = "The thread")),
    responses((status = 200, body = Pruned), (status = "4XX", body = ProblemBody)),
)]
pub(super) async fn prune(
    State(app): State<App>,
    Path(thread): Path<String>,
    Body(prune): Body<Prune>,
) -> Result<Json<Pruned>, Error> {
    if prune.keep == 0 {
        return Err(Error::InvalidRequest("`keep` is 1 or more".to_owned()));
    }
    let checkpoints_gone = app.agent().prune(&ThreadId(thread), prune.keep).await?;
    Ok(Json(Pruned { checkpoints_gone }))
}

/// Which entries.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct JournalParams {
    /// Those behind this number; left out: from the first that is kept.
    #[serde(default)]
    after: u64,
    /// At most so many, 1 to 1000; left out: 100.
    limit: Option<usize>,
}

/// Part of a journal.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Entries {
    /// Each with `seq`, `at`, `run`, `kind` and `data`, in order and without gaps.
    #[schema(value_type = Vec<Object>)]
    entries: Vec<JournalEntry>,
    /// What to ask for `after`; null: that is all so far.
    next: Option<u64>,
}

/// The numbered journal of a thread: everything that happened on it.
#[utoipa::path(
    get, path = "/threads/{thread_id}/journal", tag = "threads", operation_id = "read_journal",
    params(("thread_id" = String, Path, description = "The thread"), JournalParams),
    responses((status = 200, body = Entries), (status = "4XX", body = ProblemBody)),
)]
pub(super) async fn journal(
    State(app): State<App>,
    Path(thread): Path<String>,
    Params(wanted): Params<JournalParams>,
) -> Result<Json<Entries>, Error> {
    let limit = wanted.limit.unwrap_or(100);
    if !(1..=ENTRIES_MAX).contains(&limit) {
        let detail = format!("`limit` is {limit}; expected 1 to {ENTRIES_MAX}");
        return Err(Error::InvalidRequest(detail));
    }
    let entries = app.agent().journal(&ThreadId(thread), wanted.after, limit).await?;
    let next = entries.last().map(|last| last.seq).filter(|_| entries.len() == limit);
    Ok(Json(Entries { entries, next }))
}
