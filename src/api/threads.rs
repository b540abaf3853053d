//! `/threads`: made empty, looked at.

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::Error;
use super::state::App;
use crate::base::ThreadId;

/// A thread that was made.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Thread {
    /// Its id.
    thread_id: String,
    /// `idle`.
    status: &'static str,
}

/// Makes a thread.
#[utoipa::path(post, path = "/threads", tag = "threads", responses((status = 200, body = Thread)))]
pub(super) async fn create(State(app): State<App>) -> Result<Json<Thread>, Error> {
    let thread = app.agent().create_thread().await?;
    Ok(Json(Thread { thread_id: thread.to_string(), status: "idle" }))
}

/// A thread as it stands.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Snapshot {
    /// Channels that are set.
    values: Map<String, Value>,
    /// Nodes that run next, or wait to.
    next: Vec<String>,
    /// Open questions: `id`, `value`.
    interrupts: Vec<Value>,
    /// `idle`, `busy`, `interrupted`, `done`, `error` or `cancelled`.
    status: Value,
    /// Where in the thread's history this is: `thread_id`, `checkpoint_id`.
    checkpoint: Option<Value>,
    /// `run_id`, `graph`, `superstep`, `error`.
    metadata: Value,
    /// When the checkpoint was made [ms since the epoch, by the deployment's clock].
    updated_ms: Option<u64>,
}

/// The newest checkpoint of a thread.
#[utoipa::path(
    get, path = "/threads/{thread_id}/state", tag = "threads",
    params(("thread_id" = String, Path, description = "The thread")),
    responses((status = 200, body = Snapshot), (status = 404, body = super::error::ProblemBody)),
)]
pub(super) async fn state(
    State(app): State<App>,
    Path(thread): Path<ThreadId>,
) -> Result<Json<Snapshot>, Error> {
    let Some(state) = app.agent().look(&thread).await? else {
        return Ok(Json(Snapshot {
            values: Map::new(),
            next: Vec::new(),
            interrupts: Vec::new(),
            status: json!("idle"),
            checkpoint: None,
            metadata: json!({}),
            updated_ms: None,
        }));
    };
    Ok(Json(Snapshot {
        interrupts: interrupts(&state),
        values: state.values.into_iter().collect(),
        next: state.next,
        status: json!(state.status),
        checkpoint: Some(json!({"thread_id": thread, "checkpoint_id": state.seq.to_string()})),
        metadata: json!({
            "run_id": state.run,
            "graph": state.graph,
            "superstep": state.superstep,
            "error": state.error,
        }),
        updated_ms: Some(state.updated.0),
    }))
}

/// Open questions as LangGraph's wire has them.
pub(super) fn interrupts(state: &crate::agent::ThreadState) -> Vec<Value> {
    let open = state.interrupts.iter();
    open.map(|open| json!({"id": open.id, "value": open.question})).collect()
}
