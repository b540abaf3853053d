//! `/checkpoints`: a store for the checkpoints of LangGraph programs, by the contract of its savers.
//!
//! Values come as they were serialised, in base64, and are never opened. `docs/runtime.md` says how to use it from Python.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, State};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::Error;
use super::body::Body;
use super::state::App;
use crate::agent::saver;

/// Checkpoints in one answer at most.
const LIMIT_MAX: usize = 1_000;

/// A serialised value.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Serialised {
    /// Name of the serialisation: `msgpack`, `json`, `bytes`, `null`.
    r#type: String,
    /// Content, base64.
    data: String,
}

/// A checkpoint to keep.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Put {
    /// Thread.
    thread_id: String,
    /// Namespace: a subgraph's path; empty: the root graph.
    #[serde(default)]
    checkpoint_ns: String,
    /// Id; ids sort by age.
    checkpoint_id: String,
    /// The checkpoint before it.
    #[serde(default)]
    parent_checkpoint_id: Option<String>,
    /// The checkpoint without its channels' values.
    checkpoint: Serialised,
    /// What it can be found by; `run_id` is the run that made it.
    #[serde(default)]
    metadata: Map<String, Value>,
    /// Channel → version, of every channel.
    #[serde(default)]
    channel_versions: BTreeMap<String, String>,
    /// Channels whose version is new → value; null: the channel is empty.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, Serialised>)]
    new_values: BTreeMap<String, Option<Serialised>>,
}

/// Keeps a checkpoint; one with the same id is replaced.
#[utoipa::path(
    post, path = "/checkpoints", tag = "checkpoints", request_body = Put,
    responses((status = 200, body = Done), (status = 422, body = super::error::ProblemBody)),
)]
pub(super) async fn put(
    State(app): State<App>,
    Body(body): Body<Put>,
) -> Result<Json<Done>, Error> {
    let mut values = BTreeMap::new();
    for (channel, value) in body.new_values {
        if !body.channel_versions.contains_key(&channel) {
            let detail = format!("channel `{channel}` has a new value and no version");
            return Err(Error::InvalidRequest(detail));
        }
        values.insert(channel, value.map(blob).transpose()?);
    }
    let new = saver::NewCheckpoint {
        checkpoint: saver::SavedCheckpoint {
            scope: scope(body.thread_id, body.checkpoint_ns),
            id: body.checkpoint_id,
            parent: body.parent_checkpoint_id,
            body: blob(body.checkpoint)?,
            metadata: body.metadata,
        },
        versions: body.channel_versions,
        values,
    };
    app.agent().saver().save(new).await.map_err(Error::Store)?;
    Ok(Json(Done { ok: true }))
}

/// It is done, and durable.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Done {
    /// Always true.
    ok: bool,
}

/// Writes of one task that follow a checkpoint.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PutWrites {
    /// Thread.
    thread_id: String,
    /// Namespace.
    #[serde(default)]
    checkpoint_ns: String,
    /// The checkpoint.
    checkpoint_id: String,
    /// The task.
    task_id: String,
    /// Its place in the graph: writes are applied in this order.
    #[serde(default)]
    task_path: String,
    /// The writes.
    writes: Vec<Write>,
}

/// A write.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Write {
    /// Number in its task. The same one counts once; a negative one replaces what was there.
    index: i64,
    /// Channel.
    channel: String,
    /// Value.
    value: Serialised,
}

/// Keeps writes of a task, each once.
#[utoipa::path(
    post, path = "/checkpoints/writes", tag = "checkpoints", request_body = PutWrites,
    responses((status = 200, body = Done), (status = 422, body = super::error::ProblemBody)),
)]
pub(super) async fn put_writes(
    State(app): State<App>,
    Body(body): Body<PutWrites>,
) -> Result<Json<Done>, Error> {
    let (task, path) = (body.task_id, body.task_path);
    let write = |write: Write| {
        let (task, path) = (task.clone(), path.clone());
        let (index, channel, value) = (write.index, write.channel, blob(write.value)?);
        Ok(saver::SavedWrite { task, path, index, channel, value })
    };
    let writes = body.writes.into_iter().map(write).collect::<Result<_, Error>>()?;
    let scope = scope(body.thread_id, body.checkpoint_ns);
    let saved = app.agent().saver().save_writes(&scope, &body.checkpoint_id, writes).await;
    saved.map_err(Error::Store)?;
    Ok(Json(Done { ok: true }))
}

/// Which checkpoints to list.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Search {
    /// Of this thread; left out: of all.
    #[serde(default)]
    thread_id: Option<String>,
    /// Of this namespace; left out: of all.
    #[serde(default)]
    checkpoint_ns: Option<String>,
    /// The one with this id.
    #[serde(default)]
    checkpoint_id: Option<String>,
    /// Older than this id.
    #[serde(default)]
    before: Option<String>,
    /// Whose metadata has these values.
    #[serde(default)]
    filter: Map<String, Value>,
    /// `next` of the answer before.
    #[serde(default)]
    after: Option<Cursor>,
    /// At most so many, 1 to 1000.
    #[serde(default = "limit")]
    limit: usize,
}

fn limit() -> usize {
    100
}

/// A place in a listing.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Cursor {
    checkpoint_id: String,
    thread_id: String,
    checkpoint_ns: String,
}

/// Checkpoints, newest id first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Listing {
    /// What was found.
    checkpoints: Vec<Found>,
    /// Where the rest begins; null: there is none.
    next: Option<Cursor>,
}

/// A checkpoint with all that belongs to it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Found {
    thread_id: String,
    checkpoint_ns: String,
    checkpoint_id: String,
    parent_checkpoint_id: Option<String>,
    checkpoint: Serialised,
    metadata: Map<String, Value>,
    /// Channel → value; empty channels are left out.
    values: BTreeMap<String, Serialised>,
    /// Writes that follow it, in the order in which they are applied.
    writes: Vec<FoundWrite>,
}

/// A write with its task.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FoundWrite {
    task_id: String,
    task_path: String,
    index: i64,
    channel: String,
    value: Serialised,
}

/// Lists checkpoints, newest id first; with `limit` 1 and no `checkpoint_id`: the newest.
#[utoipa::path(
    post, path = "/checkpoints/search", tag = "checkpoints", request_body = Search,
    responses((status = 200, body = Listing), (status = 422, body = super::error::ProblemBody)),
)]
pub(super) async fn search(
    State(app): State<App>,
    Body(body): Body<Search>,
) -> Result<Json<Listing>, Error> {
    if !(1..=LIMIT_MAX).contains(&body.limit) {
        let detail = format!("`limit` is {}; expected 1 to {LIMIT_MAX}", body.limit);
        return Err(Error::InvalidRequest(detail));
    }
    let query = saver::SavedQuery {
        thread: body.thread_id,
        namespace: body.checkpoint_ns,
        id: body.checkpoint_id,
        before: body.before,
        filter: body.filter,
        after: body.after.map(|at| (at.checkpoint_id, at.thread_id, at.checkpoint_ns)),
        limit: body.limit,
    };
    let page = app.agent().saver().find(&query).await.map_err(Error::Store)?;
    let next = page.next.map(|(checkpoint_id, thread_id, checkpoint_ns)| Cursor {
        checkpoint_id,
        thread_id,
        checkpoint_ns,
    });
    Ok(Json(Listing { checkpoints: page.found.into_iter().map(found).collect(), next }))
}

/// Forgets a thread, every namespace. One that is not there is no error.
#[utoipa::path(
    delete, path = "/checkpoints/threads/{thread_id}", tag = "checkpoints",
    params(("thread_id" = String, Path, description = "The thread")),
    responses((status = 200, body = Done)),
)]
pub(super) async fn delete_thread(
    State(app): State<App>,
    Path(thread): Path<String>,
) -> Result<Json<Done>, Error> {
    app.agent().saver().forget_threads(&[thread]).await.map_err(Error::Store)?;
    Ok(Json(Done { ok: true }))
}

/// Runs whose checkpoints go.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DeleteRuns {
    /// Values of `run_id` in the metadata.
    run_ids: Vec<String>,
}

/// Forgets the checkpoints that these runs made, and the writes that follow them.
#[utoipa::path(
    post, path = "/checkpoints/delete_runs", tag = "checkpoints", request_body = DeleteRuns,
    responses((status = 200, body = Done), (status = 422, body = super::error::ProblemBody)),
)]
pub(super) async fn delete_runs(
    State(app): State<App>,
    Body(body): Body<DeleteRuns>,
) -> Result<Json<Done>, Error> {
    app.agent().saver().forget_runs(&body.run_ids).await.map_err(Error::Store)?;
    Ok(Json(Done { ok: true }))
}

/// A thread to copy.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Copy {
    /// From.
    source_thread_id: String,
    /// To; must have no checkpoints.
    target_thread_id: String,
}

/// Copies a thread: every namespace, checkpoint and write.
#[utoipa::path(
    post, path = "/checkpoints/copy", tag = "checkpoints", request_body = Copy,
    responses((status = 200, body = Done), (status = 409, body = super::error::ProblemBody)),
)]
pub(super) async fn copy_thread(
    State(app): State<App>,
    Body(body): Body<Copy>,
) -> Result<Json<Done>, Error> {
    let (from, to) = (&body.source_thread_id, &body.target_thread_id);
    match app.agent().saver().copy_saved(from, to).await.map_err(Error::Store)? {
        true => Ok(Json(Done { ok: true })),
        false => Err(Error::ThreadExists(body.target_thread_id)),
    }
}

/// Threads to prune.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = CheckpointPrune)]
#[serde(deny_unknown_fields)]
pub(super) struct Prune {
    /// Threads.
    thread_ids: Vec<String>,
    /// What stays.
    #[serde(default)]
    strategy: Strategy,
}

/// What pruning leaves.
#[derive(Debug, Clone, std::marker::Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Strategy {
    /// The newest checkpoint of each namespace, and what its values are put together from.
    #[default]
    KeepLatest,
    /// Nothing.
    Delete,
}

/// Forgets what the strategy does not leave of threads.
#[utoipa::path(
    post, path = "/checkpoints/prune", tag = "checkpoints", request_body = Prune,
    responses((status = 200, body = Done), (status = 422, body = super::error::ProblemBody)),
)]
pub(super) async fn prune(
    State(app): State<App>,
    Body(body): Body<Prune>,
) -> Result<Json<Done>, Error> {
    let strategy = match body.strategy {
        Strategy::KeepLatest => saver::PruneStrategy::KeepLatest,
        Strategy::Delete => saver::PruneStrategy::Delete,
    };
    app.agent().saver().prune_saved(&body.thread_ids, strategy).await.map_err(Error::Store)?;
    Ok(Json(Done { ok: true }))
}

fn scope(thread: String, namespace: String) -> saver::Scope {
    saver::Scope { thread, namespace }
}

fn blob(value: Serialised) -> Result<saver::Blob, Error> {
    let bytes = BASE64.decode(&value.data);
    let bytes = bytes.map_err(|error| Error::InvalidRequest(format!("`data`: {error}")))?;
    Ok(saver::Blob { kind: value.r#type, bytes })
}

fn serialised(blob: saver::Blob) -> Serialised {
    Serialised { r#type: blob.kind, data: BASE64.encode(blob.bytes) }
}

fn found(found: saver::FoundCheckpoint) -> Found {
    let checkpoint = found.checkpoint;
    let write = |write: saver::SavedWrite| FoundWrite {
        task_id: write.task,
        task_path: write.path,
        index: write.index,
        channel: write.channel,
        value: serialised(write.value),
    };
    Found {
        thread_id: checkpoint.scope.thread,
        checkpoint_ns: checkpoint.scope.namespace,
        checkpoint_id: checkpoint.id,
        parent_checkpoint_id: checkpoint.parent,
        checkpoint: serialised(checkpoint.body),
        metadata: checkpoint.metadata,
        values: found.values.into_iter().map(|(name, blob)| (name, serialised(blob))).collect(),
        writes: found.writes.into_iter().map(write).collect(),
    }
}
