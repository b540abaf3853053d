//! States of threads: the newest, any other, all of them; changed by hand.

use axum::extract::{Path, State};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::protocol::Place;
use super::refusal::{Detail, Input, Params, Refusal};
use super::snapshot::{self, History};
use super::threads::known;
use super::{contains, register};
use crate::agent::StateUpdate;
use crate::api::security::Caller;
use crate::api::state::App;
use crate::base::ThreadId;

/// The state of a thread on which nothing ran yet.
fn empty() -> Value {
    json!({
        "values": {}, "next": [], "tasks": [], "metadata": {}, "created_at": null, "checkpoint": null,
        "parent_checkpoint": null, "interrupts": [], "checkpoint_id": null, "parent_checkpoint_id": null,
    })
}

/// The place that the id of a state names.
pub(super) fn place(id: &str) -> Result<Place, Refusal> {
    Place::of(id).ok_or_else(|| Refusal::invalid("Invalid checkpoint ID: must be a UUID"))
}

/// The state of that id.
async fn state_of(app: &App, thread: &ThreadId, id: &str, deep: bool) -> Result<Value, Refusal> {
    let place = place(id)?;
    let mut history = History::open(app, thread).await?.with_subgraphs(deep);
    let moment = history.at(place.seq).await?;
    let moment = moment.filter(|m| {
        let named = m.place(place.input) == place && m.faces().contains(&place.input);
        named && !history.is_taken_back(m)
    });
    match moment {
        Some(moment) => history.shown(&moment, place.input).await,
        None => Err(Refusal::missing(format!("Checkpoint {id} not found"))),
    }
}

/// What a state is asked for with.
#[derive(Debug, Deserialize)]
pub(in crate::api) struct StateParams {
    /// Whether the states of subgraphs are shown with the tasks that call them.
    #[serde(default)]
    subgraphs: Option<bool>,
}

/// The newest state of a thread.
#[utoipa::path(
    get, path = "/threads/{thread_id}/state", tag = "threads",
    params(
        ("thread_id" = String, Path, description = "The thread"),
        ("subgraphs" = Option<bool>, Query, description = "Whether the states of subgraphs are wanted"),
    ),
    responses((status = 200, body = ref("#/components/schemas/ThreadState")), (status = "4XX", body = Detail)),
)]
pub(in crate::api) async fn newest(
    State(app): State<App>,
    Path(thread): Path<String>,
    Params(params): Params<StateParams>,
) -> Result<Json<Value>, Refusal> {
    let thread = known(&app, &thread).await?;
    newest_of(&app, &thread, params.subgraphs.unwrap_or(false)).await.map(Json)
}

async fn newest_of(app: &App, thread: &ThreadId, deep: bool) -> Result<Value, Refusal> {
    let mut history = History::open(app, thread).await?.with_subgraphs(deep);
    match history.newest().await? {
        Some(moment) => history.shown(&moment, false).await,
        None => Ok(empty()),
    }
}

/// A state of a thread.
#[utoipa::path(
    get, path = "/threads/{thread_id}/state/{checkpoint_id}", tag = "threads",
    params(
        ("thread_id" = String, Path, description = "The thread"),
        ("checkpoint_id" = String, Path, description = "The state"),
        ("subgraphs" = Option<bool>, Query, description = "Whether the states of subgraphs are wanted"),
    ),
    responses((status = 200, body = ref("#/components/schemas/ThreadState")), (status = "4XX", body = Detail)),
)]
pub(in crate::api) async fn at(
    State(app): State<App>,
    Path((thread, checkpoint)): Path<(String, String)>,
    Params(params): Params<StateParams>,
) -> Result<Json<Value>, Refusal> {
    let thread = known(&app, &thread).await?;
    let deep = params.subgraphs.unwrap_or(false);
    let mut state = state_of(&app, &thread, &checkpoint, deep).await?;
    // The original repeats what it was asked with, which has no namespace.
    if let Some(checkpoint) = state["checkpoint"].as_object_mut() {
        checkpoint.remove("checkpoint_ns");
    }
    Ok(Json(state))
}

/// A state by name.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub(in crate::api) struct CheckpointConfig {
    /// The state.
    #[serde(default)]
    pub(super) checkpoint_id: Option<String>,
    /// Its thread.
    #[serde(default)]
    thread_id: Option<String>,
    /// Of a subgraph; empty: of the thread's own graph.
    #[serde(default)]
    checkpoint_ns: Option<String>,
}

impl CheckpointConfig {
    /// The state that is meant.
    ///
    /// Errors: one of another thread, or of a subgraph.
    pub(super) fn id(&self, thread: &ThreadId) -> Result<Option<&str>, Refusal> {
        if self.thread_id.as_ref().is_some_and(|id| id != thread.as_str()) {
            return Err(Refusal::invalid("`checkpoint.thread_id` is another thread"));
        }
        if self.checkpoint_ns.as_ref().is_some_and(|ns| !ns.is_empty()) {
            return Err(Refusal::invalid("`checkpoint.checkpoint_ns`: there is no such subgraph"));
        }
        Ok(self.checkpoint_id.as_deref())
    }
}

/// Which state to read.
#[derive(Debug, Deserialize, ToSchema)]
pub(in crate::api) struct StateRequest {
    /// The state.
    checkpoint: CheckpointConfig,
    /// Whether the states of subgraphs are shown with the tasks that call them.
    #[serde(default)]
    subgraphs: Option<bool>,
}

/// A state of a thread.
#[utoipa::path(
    post, path = "/threads/{thread_id}/state/checkpoint", tag = "threads", request_body = StateRequest,
    params(("thread_id" = String, Path, description = "The thread")),
    responses((status = 200, body = ref("#/components/schemas/ThreadState")), (status = "4XX", body = Detail)),
)]
pub(in crate::api) async fn at_checkpoint(
    State(app): State<App>,
    Path(thread): Path<String>,
    Input(request): Input<StateRequest>,
) -> Result<Json<Value>, Refusal> {
    let thread = known(&app, &thread).await?;
    let deep = request.subgraphs.unwrap_or(false);
    match request.checkpoint.id(&thread)? {
        Some(id) => state_of(&app, &thread, id, deep).await.map(Json),
        None => newest_of(&app, &thread, deep).await.map(Json),
    }
}

/// Which states to list.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(in crate::api) struct HistoryRequest {
    /// At most so many, 1 to 1000.
    #[serde(default)]
    limit: Option<usize>,
    /// Those before this one.
    #[serde(default)]
    before: Option<Before>,
    /// With this in their metadata.
    #[serde(default)]
    metadata: Option<Map<String, Value>>,
    /// Of this thread and namespace.
    #[serde(default)]
    checkpoint: Option<CheckpointConfig>,
}

/// A state by id or by name.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(untagged)]
pub(in crate::api) enum Before {
    /// Its id.
    Id(String),
    /// Its name.
    Checkpoint(CheckpointConfig),
    /// As a run's config has it.
    Config {
        /// Its name.
        configurable: CheckpointConfig,
    },
}

/// What states are asked for with.
#[derive(Debug, Deserialize)]
pub(in crate::api) struct HistoryParams {
    #[serde(default)]
    limit: Option<usize>,
    #[serde(default)]
    before: Option<String>,
}

async fn listed(app: &App, thread: &ThreadId, request: HistoryRequest) -> Result<Value, Refusal> {
    let limit = request.limit.unwrap_or(10);
    if !(1..=1_000).contains(&limit) {
        return Err(Refusal::invalid("`limit` is 1 to 1000"));
    }
    if let Some(checkpoint) = &request.checkpoint {
        checkpoint.id(thread)?;
    }
    let before = match &request.before {
        None => None,
        Some(Before::Id(id)) => Some(place(id)?),
        Some(Before::Checkpoint(name) | Before::Config { configurable: name }) => {
            name.id(thread)?.map(place).transpose()?
        }
    };
    let mut history = History::open(app, thread).await?;
    // Before a loop state comes the input state of the same checkpoint: start there, and leave out what is not before.
    let start = before.map(|place| place.seq + u64::from(!place.input));
    let is_before =
        |place: Place| before.is_none_or(|b| (place.seq, !place.input) < (b.seq, !b.input));
    let fits = |metadata: &Value| {
        request
            .metadata
            .as_ref()
            .is_none_or(|wanted| metadata.as_object().is_some_and(|held| contains(held, wanted)))
    };
    let mut found = 0;
    let moments = history
        .before(start, |moment| {
            let faces = moment.faces().iter().filter(|&&input| {
                is_before(moment.place(input)) && fits(&history.metadata(moment, input))
            });
            found += faces.count();
            found >= limit
        })
        .await?;
    let mut shown = Vec::new();
    for moment in &moments {
        for &input in moment.faces() {
            let wanted = is_before(moment.place(input)) && fits(&history.metadata(moment, input));
            if wanted && shown.len() < limit {
                shown.push(history.shown(moment, input).await?);
            }
        }
    }
    Ok(json!(shown))
}

/// States of a thread, the newest first.
#[utoipa::path(
    post, path = "/threads/{thread_id}/history", tag = "threads", request_body = HistoryRequest,
    params(("thread_id" = String, Path, description = "The thread")),
    responses((status = 200, body = ref("#/components/schemas/ThreadStates")), (status = "4XX", body = Detail)),
)]
pub(in crate::api) async fn history(
    State(app): State<App>,
    Path(thread): Path<String>,
    Input(request): Input<HistoryRequest>,
) -> Result<Json<Value>, Refusal> {
    let thread = known(&app, &thread).await?;
    listed(&app, &thread, request).await.map(Json)
}

/// States of a thread, the newest first.
#[utoipa::path(
    get, path = "/threads/{thread_id}/history", tag = "threads",
    params(
        ("thread_id" = String, Path, description = "The thread"),
        ("limit" = Option<usize>, Query, description = "At most so many, 1 to 1000"),
        ("before" = Option<String>, Query, description = "Those before this one"),
    ),
    responses((status = 200, body = ref("#/components/schemas/ThreadStates")), (status = "4XX", body = Detail)),
)]
pub(in crate::api) async fn history_of(
    State(app): State<App>,
    Path(thread): Path<String>,
    Params(params): Params<HistoryParams>,
) -> Result<Json<Value>, Refusal> {
    let thread = known(&app, &thread).await?;
    let request = HistoryRequest {
        limit: params.limit,
        before: params.before.map(Before::Id),
        ..HistoryRequest::default()
    };
    listed(&app, &thread, request).await.map(Json)
}

/// A change to a thread's state.
#[derive(Debug, Deserialize, ToSchema)]
pub(in crate::api) struct StateChange {
    /// Channel → what is written to it, or several such objects; the channels' reducers fold it.
    #[serde(default)]
    values: Option<Changes>,
    /// The node that is taken to have written this: the run goes on where that node leads.
    #[serde(default)]
    as_node: Option<String>,
    /// The state to change; left out: the newest.
    #[serde(default)]
    checkpoint: Option<CheckpointConfig>,
    /// The state to change, by its id alone.
    #[serde(default)]
    checkpoint_id: Option<String>,
}

/// One set of values, or several.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged)]
pub(in crate::api) enum Changes {
    /// One.
    One(Map<String, Value>),
    /// Several, one after another.
    Many(Vec<Map<String, Value>>),
}

/// Changes the state of a thread by hand; what follows is held until a run without input lets it go on.
#[utoipa::path(
    post, path = "/threads/{thread_id}/state", tag = "threads", request_body = StateChange,
    params(("thread_id" = String, Path, description = "The thread")),
    responses((status = 200, body = Object), (status = "4XX", body = Detail)),
)]
pub(in crate::api) async fn update(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(thread): Path<String>,
    Input(change): Input<StateChange>,
) -> Result<Json<Value>, Refusal> {
    let thread = known(&app, &thread).await?;
    let agent = app.agent();
    let _held = app.register.lock(&thread).await;
    let Some(before) = agent.look(&thread).await? else {
        return Err(Refusal::invalid("the thread has no state yet: run a graph on it first"));
    };
    let named = change.checkpoint.as_ref().map(|name| name.id(&thread)).transpose()?.flatten();
    if let Some(id) = named.or(change.checkpoint_id.as_deref()) {
        let place = place(id)?;
        let history = History::open(&app, &thread).await?;
        let moment = history.at(place.seq).await?;
        let moment =
            moment.ok_or_else(|| Refusal::missing(format!("Checkpoint {id} not found")))?;
        if moment.newest().seq != before.seq {
            agent.rewind(&thread, moment.newest().seq).await?;
        }
    }
    let mut changes = match change.values {
        None => vec![Map::new()],
        Some(Changes::One(values)) => vec![values],
        Some(Changes::Many(several)) => several,
    };
    let goto = match change.as_node.as_deref() {
        Some("__start__") => agent.graph_shape(&before.graph)?.start,
        _ => Vec::new(),
    };
    let as_node = change.as_node.filter(|node| node != "__start__" && node != "__copy__");
    let last = changes.pop().unwrap_or_default();
    let by = caller.consenter().unwrap_or_default();
    for values in changes {
        let values = values.into_iter().collect();
        let by = by.clone();
        agent.update_state(&thread, StateUpdate { values, by, ..StateUpdate::default() }).await?;
    }
    let values = last.into_iter().collect();
    let state = agent.update_state(&thread, StateUpdate { values, as_node, goto, by }).await?;
    let mut record = register::thread(agent, &thread).await?;
    (record.updated, record.state_updated) = (register::now(), register::now());
    record.ran = true;
    register::put_thread(agent, &record).await?;
    let id = snapshot::id_of(&state.lineage);
    let place = json!({"thread_id": thread, "checkpoint_ns": "", "checkpoint_id": id});
    Ok(Json(json!({"checkpoint": place, "configurable": place, "checkpoint_id": id})))
}
