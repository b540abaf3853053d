//! `/threads`: made, found, changed, copied, forgotten.

use axum::extract::{Path, State};
use axum::http::{HeaderName, StatusCode};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::assistants::IfExists;
use super::protocol::{is_uuid, stamp, task_id};
use super::record::ThreadRecord;
use super::refusal::{Detail, Input, Params, Refusal};
use super::register::{self, now};
use super::snapshot::value_of;
use super::{Order, PAGINATION_TOTAL, contains, page, selected};
use crate::agent::{self, ThreadState, ThreadStatus};
use crate::api::security::Caller;
use crate::api::state::App;
use crate::base::ThreadId;

/// A thread.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct Thread {
    thread_id: String,
    created_at: String,
    updated_at: String,
    /// When its state last changed.
    state_updated_at: String,
    metadata: Map<String, Value>,
    /// `idle`, `busy`, `interrupted` or `error`.
    status: &'static str,
    config: Value,
    /// Its channels; `null`: nothing ran yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    values: Option<Value>,
    /// Why its last run failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Value>,
    /// Open questions by task.
    #[serde(skip_serializing_if = "Option::is_none")]
    interrupts: Option<Value>,
}

/// The thread that a path names.
///
/// Errors: 422 no UUID, 404 no such thread.
pub(super) async fn known(app: &App, thread: &str) -> Result<ThreadId, Refusal> {
    let thread = thread_id(thread)?;
    match app.agent().has_thread(&thread).await? {
        true => Ok(thread),
        false => Err(Refusal::no_thread(&thread)),
    }
}

/// An id of the form that threads have.
pub(super) fn thread_id(thread: &str) -> Result<ThreadId, Refusal> {
    match is_uuid(thread) {
        true => Ok(ThreadId(thread.to_owned())),
        false => Err(Refusal::invalid("Invalid thread ID: must be a UUID")),
    }
}

fn status(record: &ThreadRecord, state: Option<&ThreadState>) -> &'static str {
    if !record.open.is_empty() {
        return "busy";
    }
    match state.map_or(ThreadStatus::Idle, |state| state.status) {
        ThreadStatus::Idle | ThreadStatus::Done | ThreadStatus::Cancelled => "idle",
        ThreadStatus::Busy => "busy",
        ThreadStatus::Interrupted => "interrupted",
        ThreadStatus::Error => "error",
    }
}

/// A thread as the wire has it.
fn shown(record: &ThreadRecord, state: Option<&ThreadState>) -> Thread {
    let ran = record.ran && state.is_some();
    let values = match state {
        Some(state) if ran => Some(json!(super::paths::inside("", &state.values))),
        _ if record.copied => None,
        _ => Some(Value::Null),
    };
    let interrupts = state.filter(|_| ran).map(|state| {
        let mut by_task = Map::new();
        for open in &state.interrupts {
            let id = task_id(state.thread.as_str(), &state.lineage, &open.node);
            let question = json!({"id": open.id, "value": value_of(&json!(open.question))});
            let asked = by_task.entry(id).or_insert_with(|| json!([]));
            if let Some(asked) = asked.as_array_mut() {
                asked.push(question);
            }
        }
        Value::Object(by_task)
    });
    let failed = state.and_then(|state| state.error.as_ref()).map(|problem| problem.to_string());
    Thread {
        thread_id: record.thread.to_string(),
        created_at: stamp(record.created),
        updated_at: stamp(record.updated),
        state_updated_at: stamp(record.state_updated),
        metadata: record.metadata.clone(),
        status: status(record, state),
        config: if ran { json!({"configurable": {}}) } else { json!({}) },
        values,
        error: ran.then(|| json!(failed)),
        interrupts,
    }
}

async fn show_record(app: &App, record: &ThreadRecord) -> Result<Thread, Refusal> {
    let state = app.agent().look(&record.thread).await?;
    Ok(shown(record, state.as_ref()))
}

/// A thread as the wire has it; `None`: it was forgotten since its record was read.
async fn show_if_there(app: &App, record: &ThreadRecord) -> Result<Option<Thread>, Refusal> {
    match app.agent().look(&record.thread).await {
        Ok(state) => Ok(Some(shown(record, state.as_ref()))),
        Err(agent::Error::UnknownThread(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// A thread to make.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(in crate::api) struct ThreadCreate {
    /// A UUID; left out: a fresh one.
    #[serde(default)]
    thread_id: Option<String>,
    #[serde(default)]
    metadata: Option<Map<String, Value>>,
    /// `raise` (409) or `do_nothing`.
    #[serde(default)]
    if_exists: IfExists,
    /// Refused: threads are kept until they are deleted.
    #[serde(default)]
    ttl: Option<Value>,
    /// Refused: begin with a run.
    #[serde(default)]
    supersteps: Option<Vec<Value>>,
}

/// Makes a thread. A body may be left out.
#[utoipa::path(
    post, path = "/threads", tag = "threads", request_body = ThreadCreate,
    responses((status = 200, body = Thread), (status = "4XX", body = Detail)),
)]
pub(in crate::api) async fn create(
    State(app): State<App>,
    Input(request): Input<ThreadCreate>,
) -> Result<Json<Thread>, Refusal> {
    refuse_ttl(request.ttl.as_ref())?;
    if request.supersteps.is_some_and(|steps| !steps.is_empty()) {
        return Err(Refusal::invalid("`supersteps`: begin with a run, or copy a thread"));
    }
    let thread = match request.thread_id {
        Some(id) => thread_id(&id)?,
        None => app.agent().fresh_thread(),
    };
    let metadata = request.metadata.unwrap_or_default();
    match made(&app, &thread, metadata).await? {
        Some(record) => Ok(Json(shown(&record, None))),
        None if request.if_exists == IfExists::DoNothing => {
            let record = register::thread(app.agent(), &thread).await?;
            show_record(&app, &record).await.map(Json)
        }
        None => Err(Refusal::conflict(format!("Thread with ID {thread} already exists"))),
    }
}

fn refuse_ttl(ttl: Option<&Value>) -> Result<(), Refusal> {
    match ttl.is_some_and(|ttl| !ttl.is_null()) {
        true => Err(Refusal::invalid("`ttl`: threads are kept until they are deleted")),
        false => Ok(()),
    }
}

/// Makes a thread; `None`: there is one of this id.
pub(super) async fn made(
    app: &App,
    thread: &ThreadId,
    metadata: Map<String, Value>,
) -> Result<Option<ThreadRecord>, Refusal> {
    let record = ThreadRecord::new(thread.clone(), metadata, now());
    Ok(made_as(app, &record).await?.then_some(record))
}

/// Makes the thread of a record. `false`: there is one of its id.
pub(super) async fn made_as(app: &App, record: &ThreadRecord) -> Result<bool, Refusal> {
    let made = app.agent().create_thread_as(&record.thread).await?;
    if made {
        register::put_thread(app.agent(), record).await?;
    }
    Ok(made)
}

/// A thread.
#[utoipa::path(
    get, path = "/threads/{thread_id}", tag = "threads",
    params(
        ("thread_id" = String, Path, description = "The thread"),
        ("include" = Option<String>, Query, description = "Refused: nothing more is known of a thread"),
    ),
    responses((status = 200, body = Thread), (status = "4XX", body = Detail)),
)]
pub(in crate::api) async fn show(
    State(app): State<App>,
    Path(thread): Path<String>,
    Params(params): Params<ThreadParams>,
) -> Result<Json<Thread>, Refusal> {
    if params.include.is_some_and(|fields| !fields.is_empty()) {
        return Err(Refusal::invalid("`include`: nothing more is known of a thread"));
    }
    let thread = known(&app, &thread).await?;
    let record = register::thread(app.agent(), &thread).await?;
    show_record(&app, &record).await.map(Json)
}

/// How a thread is asked for.
#[derive(Debug, Deserialize)]
pub(in crate::api) struct ThreadParams {
    #[serde(default)]
    include: Option<String>,
}

/// What to change of a thread.
#[derive(Debug, Deserialize, ToSchema)]
pub(in crate::api) struct ThreadPatch {
    /// Laid over what is there.
    #[serde(default)]
    metadata: Option<Map<String, Value>>,
    /// Refused: threads are kept until they are deleted.
    #[serde(default)]
    ttl: Option<Value>,
}

/// Changes what is said of a thread.
#[utoipa::path(
    patch, path = "/threads/{thread_id}", tag = "threads", request_body = ThreadPatch,
    params(("thread_id" = String, Path, description = "The thread")),
    responses((status = 200, body = Thread), (status = "4XX", body = Detail)),
)]
pub(in crate::api) async fn update(
    State(app): State<App>,
    Path(thread): Path<String>,
    Input(patch): Input<ThreadPatch>,
) -> Result<Json<Thread>, Refusal> {
    refuse_ttl(patch.ttl.as_ref())?;
    let thread = known(&app, &thread).await?;
    let _held = app.register.lock(&thread).await;
    let mut record = register::thread(app.agent(), &thread).await?;
    record.metadata.extend(patch.metadata.unwrap_or_default());
    record.updated = now();
    register::put_thread(app.agent(), &record).await?;
    show_record(&app, &record).await.map(Json)
}

/// Forgets a thread; what goes on there is cancelled first.
#[utoipa::path(
    delete, path = "/threads/{thread_id}", tag = "threads",
    params(("thread_id" = String, Path, description = "The thread")),
    responses((status = 204), (status = "4XX", body = Detail)),
)]
pub(in crate::api) async fn delete(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(thread): Path<String>,
) -> Result<StatusCode, Refusal> {
    let thread = known(&app, &thread).await?;
    forget(&app, &thread, &caller).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Cancels what goes on on a thread, then forgets it.
pub(super) async fn forget(app: &App, thread: &ThreadId, caller: &Caller) -> Result<(), Refusal> {
    let record = register::thread(app.agent(), thread).await?;
    for run in &record.open {
        super::runs::stop(app, thread, run, caller.consenter().as_deref()).await?;
    }
    let _held = app.register.lock(thread).await;
    super::crons::forget_thread(app, thread).await?;
    register::remove_thread(app.agent(), thread).await
}

/// Makes a copy of a thread, with its history.
#[utoipa::path(
    post, path = "/threads/{thread_id}/copy", tag = "threads",
    params(("thread_id" = String, Path, description = "The thread")),
    responses((status = 200, body = Thread), (status = "4XX", body = Detail)),
)]
pub(in crate::api) async fn copy(
    State(app): State<App>,
    Path(thread): Path<String>,
) -> Result<Json<Thread>, Refusal> {
    let thread = known(&app, &thread).await?;
    let source = register::thread(app.agent(), &thread).await?;
    let to = app.agent().copy(&thread).await?;
    let mut record = ThreadRecord::new(to, source.metadata, now());
    record.copied = true;
    register::put_thread(app.agent(), &record).await?;
    show_record(&app, &record).await.map(Json)
}

/// Which threads to find.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(in crate::api) struct ThreadSearch {
    /// With these ids.
    #[serde(default)]
    ids: Option<Vec<String>>,
    /// With this in their metadata.
    #[serde(default)]
    metadata: Option<Map<String, Value>>,
    /// With this in their values.
    #[serde(default)]
    values: Option<Map<String, Value>>,
    /// `idle`, `busy`, `interrupted` or `error`.
    #[serde(default)]
    status: Option<String>,
    /// At most so many, 1 to 1000.
    #[serde(default)]
    limit: Option<usize>,
    /// Leave out so many.
    #[serde(default)]
    offset: usize,
    #[serde(default)]
    sort_by: Option<ThreadSort>,
    #[serde(default)]
    sort_order: Order,
    /// Only these fields.
    #[serde(default)]
    select: Option<Vec<String>>,
    /// Refused: take the values and pick from them.
    #[serde(default)]
    extract: Option<Map<String, Value>>,
}

/// What threads are sorted by.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::api) enum ThreadSort {
    /// Id.
    ThreadId,
    /// Status.
    Status,
    /// When it was made.
    CreatedAt,
    /// When it changed.
    #[default]
    UpdatedAt,
    /// When its state changed.
    StateUpdatedAt,
}

/// The threads that are meant, in order; shown only where that is needed to find them.
async fn found(
    app: &App,
    search: &ThreadSearch,
) -> Result<Vec<(ThreadRecord, Option<Thread>)>, Refusal> {
    let mut records = register::threads(app.agent()).await?;
    records.retain(|record| {
        let id = record.thread.as_str();
        search.ids.as_ref().is_none_or(|ids| ids.iter().any(|wanted| wanted == id))
            && search.metadata.as_ref().is_none_or(|wanted| contains(&record.metadata, wanted))
    });
    let by = search.sort_by.unwrap_or_default();
    let mut found = Vec::with_capacity(records.len());
    let look = search.status.is_some() || search.values.is_some() || by == ThreadSort::Status;
    for record in records {
        let thread = if look { show_if_there(app, &record).await? } else { None };
        if look && thread.is_none() {
            continue;
        }
        let fits = thread.as_ref().is_none_or(|thread| {
            let values = thread.values.as_ref().and_then(Value::as_object);
            search.status.as_ref().is_none_or(|wanted| wanted == thread.status)
                && search
                    .values
                    .as_ref()
                    .is_none_or(|wanted| values.is_some_and(|values| contains(values, wanted)))
        });
        if fits {
            found.push((record, thread));
        }
    }
    found.sort_by_cached_key(|(record, thread)| {
        let first = match by {
            ThreadSort::ThreadId => record.thread.to_string(),
            ThreadSort::Status => thread.as_ref().map_or("", |thread| thread.status).to_owned(),
            ThreadSort::CreatedAt => format!("{:020}", record.created.0),
            ThreadSort::UpdatedAt => format!("{:020}", record.updated.0),
            ThreadSort::StateUpdatedAt => format!("{:020}", record.state_updated.0),
        };
        (first, record.thread.clone())
    });
    if search.sort_order == Order::Desc {
        found.reverse();
    }
    Ok(found)
}

/// Finds threads.
#[utoipa::path(
    post, path = "/threads/search", tag = "threads", request_body = ThreadSearch,
    responses(
        (status = 200, body = ref("#/components/schemas/Threads"), description = "Threads; only the fields of `select`, where it is given"),
        (status = 422, body = Detail),
    ),
)]
pub(in crate::api) async fn search(
    State(app): State<App>,
    Input(search): Input<ThreadSearch>,
) -> Result<([(HeaderName, String); 1], Json<Value>), Refusal> {
    if search.extract.as_ref().is_some_and(|paths| !paths.is_empty()) {
        return Err(Refusal::invalid("`extract`: ask for `values` and pick from them"));
    }
    let found = found(&app, &search).await?;
    let mut threads = Vec::new();
    for (record, thread) in page(&found, search.offset, search.limit.unwrap_or(10))? {
        let looked = match thread {
            Some(_) => None,
            None => show_if_there(&app, record).await?,
        };
        let Some(thread) = thread.as_ref().or(looked.as_ref()) else { continue };
        threads.push(selected(json!(thread), search.select.as_deref()));
    }
    Ok(([(PAGINATION_TOTAL, found.len().to_string())], Json(json!(threads))))
}

/// Counts threads.
#[utoipa::path(
    post, path = "/threads/count", tag = "threads", request_body = ThreadSearch,
    responses((status = 200, content_type = "application/json", body = usize), (status = 422, body = Detail)),
)]
pub(in crate::api) async fn count(
    State(app): State<App>,
    Input(search): Input<ThreadSearch>,
) -> Result<Json<usize>, Refusal> {
    Ok(Json(found(&app, &search).await?.len()))
}

/// Which threads to prune.
#[derive(Debug, Deserialize, ToSchema)]
pub(in crate::api) struct ThreadPrune {
    /// The threads.
    thread_ids: Vec<String>,
    /// What stays of them.
    #[serde(default)]
    strategy: Prune,
}

/// What stays of a thread.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::api) enum Prune {
    /// Nothing.
    #[default]
    Delete,
    /// The newest state.
    KeepLatest,
}

/// How many threads were pruned.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct Pruned {
    pruned_count: usize,
}

/// Forgets threads, or all but their newest states. Threads that are not there are left out.
#[utoipa::path(
    post, path = "/threads/prune", tag = "threads", request_body = ThreadPrune,
    responses((status = 200, body = Pruned), (status = "4XX", body = Detail)),
)]
pub(in crate::api) async fn prune(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Input(request): Input<ThreadPrune>,
) -> Result<Json<Pruned>, Refusal> {
    let threads: Vec<ThreadId> =
        request.thread_ids.iter().map(|id| thread_id(id)).collect::<Result<_, _>>()?;
    let mut pruned_count = 0;
    for thread in threads {
        if !app.agent().has_thread(&thread).await? {
            continue;
        }
        match request.strategy {
            Prune::Delete => forget(&app, &thread, &caller).await?,
            Prune::KeepLatest if app.agent().look(&thread).await?.is_none() => {}
            Prune::KeepLatest => {
                app.agent().prune(&thread, 1).await?;
            }
        }
        pruned_count += 1;
    }
    Ok(Json(Pruned { pruned_count }))
}
