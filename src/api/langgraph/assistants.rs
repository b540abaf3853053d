//! `/assistants`: every graph is one, and people make others of them: a graph with values of its own.

use axum::extract::{Path, State};
use axum::http::{HeaderName, StatusCode};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::protocol::{assistant_id, is_uuid, stamp};
use super::refusal::{Detail, Input, Params, Refusal};
use super::register::{now, read, read_all, read_version, write_over};
use super::{ATTEMPTS, PAGINATION_TOTAL, page};
use crate::agent::Agent;
use crate::api::security::{Caller, lifts};
use crate::api::state::App;
use crate::base::Millis;

/// Collection of assistants.
const ASSISTANTS: &str = "langgraph.assistants";

/// What is kept of an assistant: every version of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct AssistantRecord {
    pub(super) id: String,
    created: Millis,
    updated: Millis,
    /// The version that counts.
    latest: u32,
    versions: Vec<Version>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Version {
    version: u32,
    graph: String,
    config: Map<String, Value>,
    context: Map<String, Value>,
    metadata: Map<String, Value>,
    name: String,
    description: Option<String>,
    created: Millis,
}

/// An assistant: a graph with values of its own.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct Assistant {
    assistant_id: String,
    /// The graph it runs.
    graph_id: String,
    config: Map<String, Value>,
    /// Read-only values of its runs.
    context: Map<String, Value>,
    metadata: Map<String, Value>,
    name: String,
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    updated_at: Option<String>,
    version: u32,
    description: Option<String>,
}

impl Version {
    /// Whether runs of it would ask nobody before they touch users.
    fn consents(&self) -> bool {
        lifts(&self.context) || lifts(&self.config)
    }
}

impl AssistantRecord {
    fn of_graph(graph: &str, at: Millis) -> Self {
        let metadata = json!({"created_by": "system"});
        let version = Version {
            version: 1,
            graph: graph.to_owned(),
            config: Map::new(),
            context: Map::new(),
            metadata: metadata.as_object().cloned().unwrap_or_default(),
            name: graph.to_owned(),
            description: None,
            created: at,
        };
        let id = assistant_id(graph);
        Self { id, created: at, updated: at, latest: 1, versions: vec![version] }
    }

    /// The version that counts.
    fn current(&self) -> Result<&Version, Refusal> {
        self.versions
            .iter()
            .find(|version| version.version == self.latest)
            .ok_or_else(|| missing(&self.id))
    }

    /// Number of the version that counts.
    pub(super) fn latest(&self) -> u32 {
        self.latest
    }

    /// The graph it runs.
    pub(super) fn graph(&self) -> Result<&str, Refusal> {
        Ok(&self.current()?.graph)
    }

    /// What it gives to its runs: config, context, metadata.
    pub(super) fn gives(&self) -> Result<[&Map<String, Value>; 3], Refusal> {
        let current = self.current()?;
        Ok([&current.config, &current.context, &current.metadata])
    }

    fn shown(&self) -> Result<Assistant, Refusal> {
        let mut shown = self.shown_as(self.current()?);
        shown.created_at = stamp(self.created);
        shown.updated_at = Some(stamp(self.updated));
        Ok(shown)
    }

    fn shown_as(&self, version: &Version) -> Assistant {
        Assistant {
            assistant_id: self.id.clone(),
            graph_id: version.graph.clone(),
            config: version.config.clone(),
            context: version.context.clone(),
            metadata: version.metadata.clone(),
            name: version.name.clone(),
            created_at: stamp(version.created),
            updated_at: None,
            version: version.version,
            description: version.description.clone(),
        }
    }
}

fn missing(id: &str) -> Refusal {
    Refusal::missing(format!("Assistant with ID {id} not found"))
}

/// Makes sure that every graph has its own assistant.
pub(in crate::api) async fn keep_own(agent: &Agent) -> Result<(), crate::base::Problem> {
    for graph in agent.graph_names() {
        let id = assistant_id(&graph);
        let record = json!(AssistantRecord::of_graph(&graph, now()));
        // Version 0: one that is there already stays.
        agent.documents().put(ASSISTANTS, &id, Some(0), record).await?;
    }
    Ok(())
}

/// The assistants whose graphs are there.
async fn all(agent: &Agent) -> Result<Vec<AssistantRecord>, Refusal> {
    let graphs = agent.graph_names();
    let mut records: Vec<AssistantRecord> = read_all(agent, ASSISTANTS).await?;
    records.retain(|record| record.graph().is_ok_and(|graph| graphs.iter().any(|g| g == graph)));
    Ok(records)
}

/// The assistant that a path names: by its id, or by the name of its graph.
/// The assistant of that id, or of the graph of that name.
pub(super) async fn kept(agent: &Agent, id: &str) -> Result<AssistantRecord, Refusal> {
    if agent.graph_names().iter().any(|graph| graph == id) {
        let own = assistant_id(id);
        return read(agent, ASSISTANTS, &own).await?.ok_or_else(|| missing(id));
    }
    if !is_uuid(id) {
        return Err(Refusal::invalid("Invalid assistant ID: must be a UUID"));
    }
    read(agent, ASSISTANTS, id).await?.ok_or_else(|| missing(id))
}

/// The assistant that a run names: by its id, or by the name of its graph.
pub(super) async fn named(agent: &Agent, name: &str) -> Result<AssistantRecord, Refusal> {
    let graphs = agent.graph_names();
    let id =
        if graphs.iter().any(|graph| graph == name) { assistant_id(name) } else { name.to_owned() };
    let found: Option<AssistantRecord> =
        if is_uuid(&id) { read(agent, ASSISTANTS, &id).await? } else { None };
    let found = found.filter(|record| record.graph().is_ok_and(|g| graphs.iter().any(|n| n == g)));
    found.ok_or_else(|| {
        let mut graphs = graphs;
        graphs.sort_by(|a, b| b.cmp(a));
        Refusal::invalid(format!(
            "Invalid assistant: '{name}'. Must be either:\n- A valid assistant UUID, or\n- One of the registered graphs: {}",
            graphs.join(", ")
        ))
    })
}

/// An assistant to make.
#[derive(Debug, Deserialize, ToSchema)]
pub(in crate::api) struct AssistantCreate {
    /// The graph it runs.
    graph_id: String,
    /// A UUID; left out: a fresh one.
    #[serde(default)]
    assistant_id: Option<String>,
    #[serde(default)]
    config: Option<Map<String, Value>>,
    /// Read-only values of its runs; left out: `config.configurable`.
    #[serde(default)]
    context: Option<Map<String, Value>>,
    #[serde(default)]
    metadata: Option<Map<String, Value>>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    description: Option<String>,
    /// `raise` (409) or `do_nothing`.
    #[serde(default)]
    if_exists: IfExists,
}

/// What to do where something is there already.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::api) enum IfExists {
    /// 409.
    #[default]
    Raise,
    /// What is there is the answer.
    DoNothing,
}

/// Context and `config.configurable` say the same; whichever is given counts for both.
fn aligned(
    config: Option<Map<String, Value>>,
    context: Option<Map<String, Value>>,
) -> (Map<String, Value>, Map<String, Value>) {
    let mut config = config.unwrap_or_default();
    let configurable = config.get("configurable").and_then(Value::as_object).cloned();
    match context {
        Some(context) => {
            if configurable.is_none() && !context.is_empty() {
                config.insert("configurable".to_owned(), json!(context));
            }
            (config, context)
        }
        None => (config, configurable.unwrap_or_default()),
    }
}

/// Makes an assistant of a graph.
#[utoipa::path(
    post, path = "/assistants", tag = "assistants", request_body = AssistantCreate,
    responses((status = 200, body = Assistant), (status = "4XX", body = Detail)),
)]
pub(in crate::api) async fn create(
    State(app): State<App>,
    Input(request): Input<AssistantCreate>,
) -> Result<Json<Assistant>, Refusal> {
    let agent = app.agent();
    if !agent.graph_names().contains(&request.graph_id) {
        return Err(Refusal::missing(format!("Graph '{}' not found", request.graph_id)));
    }
    let id = match request.assistant_id {
        Some(id) if !is_uuid(&id) => {
            return Err(Refusal::invalid("Invalid assistant ID: must be a UUID"));
        }
        Some(id) => id,
        None => app.register.fresh_id(),
    };
    let (config, context) = aligned(request.config, request.context);
    let at = now();
    let version = Version {
        version: 1,
        graph: request.graph_id,
        config,
        context,
        metadata: request.metadata.unwrap_or_default(),
        name: request.name.unwrap_or_else(|| "Untitled".to_owned()),
        description: request.description,
        created: at,
    };
    let record =
        AssistantRecord { id, created: at, updated: at, latest: 1, versions: vec![version] };
    if write_over(agent, ASSISTANTS, &record.id, 0, &record).await? {
        return record.shown().map(Json);
    }
    match (request.if_exists, read::<AssistantRecord>(agent, ASSISTANTS, &record.id).await?) {
        (IfExists::DoNothing, Some(there)) => there.shown().map(Json),
        _ => Err(Refusal::conflict(format!("Assistant {} already exists", record.id))),
    }
}

/// Which assistants to find.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(in crate::api) struct AssistantSearch {
    /// Of this graph.
    #[serde(default)]
    graph_id: Option<String>,
    /// With this in their metadata.
    #[serde(default)]
    metadata: Option<Map<String, Value>>,
    /// With this in their name.
    #[serde(default)]
    name: Option<String>,
    /// At most so many, 1 to 1000.
    #[serde(default)]
    limit: Option<usize>,
    /// Leave out so many.
    #[serde(default)]
    offset: usize,
    /// `assistant_id`, `created_at`, `updated_at`, `name` or `graph_id`.
    #[serde(default)]
    sort_by: Option<AssistantSort>,
    #[serde(default)]
    sort_order: super::Order,
    /// Only these fields.
    #[serde(default)]
    select: Option<Vec<String>>,
}

/// What assistants are sorted by.
#[derive(Debug, Default, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::api) enum AssistantSort {
    /// Id.
    AssistantId,
    /// When it was made.
    #[default]
    CreatedAt,
    /// When it changed.
    UpdatedAt,
    /// Name.
    Name,
    /// Graph.
    GraphId,
}

async fn found(agent: &Agent, search: &AssistantSearch) -> Result<Vec<AssistantRecord>, Refusal> {
    let mut records = all(agent).await?;
    records.retain(|record| {
        record.current().is_ok_and(|current| {
            let wanted = search.metadata.as_ref();
            search.graph_id.as_ref().is_none_or(|graph| *graph == current.graph)
                && wanted.is_none_or(|wanted| super::contains(&current.metadata, wanted))
                && search
                    .name
                    .as_ref()
                    .is_none_or(|name| current.name.to_lowercase().contains(&name.to_lowercase()))
        })
    });
    let key = |record: &AssistantRecord| {
        let (name, graph) = record
            .current()
            .map(|current| (current.name.clone(), current.graph.clone()))
            .unwrap_or_default();
        let first = match search.sort_by.unwrap_or_default() {
            AssistantSort::AssistantId => record.id.clone(),
            AssistantSort::CreatedAt => format!("{:020}", record.created.0),
            AssistantSort::UpdatedAt => format!("{:020}", record.updated.0),
            AssistantSort::Name => name.clone(),
            AssistantSort::GraphId => graph,
        };
        (first, name, record.id.clone())
    };
    records.sort_by_cached_key(key);
    if search.sort_order == super::Order::Desc {
        records.reverse();
    }
    Ok(records)
}

/// Finds assistants.
#[utoipa::path(
    post, path = "/assistants/search", tag = "assistants", request_body = AssistantSearch,
    responses(
        (status = 200, body = Vec<Object>, description = "Assistants; only the fields of `select`, where it is given"),
        (status = 422, body = Detail),
    ),
)]
pub(in crate::api) async fn search(
    State(app): State<App>,
    Input(search): Input<AssistantSearch>,
) -> Result<([(HeaderName, String); 1], Json<Value>), Refusal> {
    let records = found(app.agent(), &search).await?;
    let total = records.len();
    let shown = page(&records, search.offset, search.limit.unwrap_or(10))?
        .iter()
        .map(|record| Ok(super::selected(json!(record.shown()?), search.select.as_deref())))
        .collect::<Result<Vec<Value>, Refusal>>()?;
    Ok(([(PAGINATION_TOTAL, total.to_string())], Json(json!(shown))))
}

/// Counts assistants.
#[utoipa::path(
    post, path = "/assistants/count", tag = "assistants", request_body = AssistantSearch,
    responses((status = 200, content_type = "application/json", body = usize), (status = 422, body = Detail)),
)]
pub(in crate::api) async fn count(
    State(app): State<App>,
    Input(search): Input<AssistantSearch>,
) -> Result<Json<usize>, Refusal> {
    Ok(Json(found(app.agent(), &search).await?.len()))
}

/// An assistant.
#[utoipa::path(
    get, path = "/assistants/{assistant_id}", tag = "assistants",
    params(("assistant_id" = String, Path, description = "The assistant")),
    responses((status = 200, body = Assistant), (status = "4XX", body = Detail)),
)]
pub(in crate::api) async fn show(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Json<Assistant>, Refusal> {
    kept(app.agent(), &id).await?.shown().map(Json)
}

/// What to change of an assistant; what is left out stays.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub(in crate::api) struct AssistantPatch {
    #[serde(default)]
    graph_id: Option<String>,
    #[serde(default)]
    config: Option<Map<String, Value>>,
    #[serde(default)]
    context: Option<Map<String, Value>>,
    /// Laid over what is there.
    #[serde(default)]
    metadata: Option<Map<String, Value>>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    description: Option<String>,
}

/// Makes a new version of an assistant.
#[utoipa::path(
    patch, path = "/assistants/{assistant_id}", tag = "assistants", request_body = AssistantPatch,
    params(("assistant_id" = String, Path, description = "The assistant")),
    responses((status = 200, body = Assistant), (status = "4XX", body = Detail)),
)]
pub(in crate::api) async fn update(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Input(patch): Input<AssistantPatch>,
) -> Result<Json<Assistant>, Refusal> {
    if let Some(graph) = &patch.graph_id
        && !app.agent().graph_names().contains(graph)
    {
        return Err(Refusal::missing(format!("Graph '{graph}' not found")));
    }
    changed(&app, &id, |record| next_version(record, patch.clone(), &caller)).await
}

/// Changes an assistant, whoever else does meanwhile.
async fn changed(
    app: &App,
    id: &str,
    change: impl Fn(&mut AssistantRecord) -> Result<(), Refusal>,
) -> Result<Json<Assistant>, Refusal> {
    let agent = app.agent();
    let id = kept(agent, id).await?.id;
    for _ in 0..ATTEMPTS {
        let there = read_version::<AssistantRecord>(agent, ASSISTANTS, &id).await?;
        let (mut record, version) = there.ok_or_else(|| missing(&id))?;
        change(&mut record)?;
        if write_over(agent, ASSISTANTS, &id, version, &record).await? {
            return record.shown().map(Json);
        }
    }
    Err(Refusal::conflict(format!("Assistant {id} is being changed by others")))
}

/// Adds a version. Consent that an earlier one gave is for what that one does: only who may give it may hand it on.
fn next_version(
    record: &mut AssistantRecord,
    patch: AssistantPatch,
    caller: &Caller,
) -> Result<(), Refusal> {
    let mut next = record.current()?.clone();
    let consented = next.consents();
    next.version = record.versions.iter().map(|version| version.version).max().unwrap_or(0) + 1;
    next.created = now();
    next.graph = patch.graph_id.unwrap_or(next.graph);
    if patch.config.is_some() || patch.context.is_some() {
        (next.config, next.context) = aligned(patch.config, patch.context);
    }
    next.metadata.extend(patch.metadata.unwrap_or_default());
    next.name = patch.name.unwrap_or(next.name);
    next.description = patch.description.or(next.description);
    if consented || next.consents() {
        caller.must_approve()?;
    }
    (record.latest, record.updated) = (next.version, next.created);
    record.versions.push(next);
    Ok(())
}

/// What goes with an assistant.
#[derive(Debug, Deserialize)]
pub(in crate::api) struct DeleteParams {
    #[serde(default)]
    delete_threads: bool,
}

/// Forgets an assistant. A graph's own stays.
#[utoipa::path(
    delete, path = "/assistants/{assistant_id}", tag = "assistants",
    params(
        ("assistant_id" = String, Path, description = "The assistant"),
        ("delete_threads" = Option<bool>, Query, description = "Whether the threads go whose last run was its"),
    ),
    responses((status = 204), (status = "4XX", body = Detail)),
)]
pub(in crate::api) async fn delete(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Params(params): Params<DeleteParams>,
) -> Result<StatusCode, Refusal> {
    let id = kept(app.agent(), &id).await?.id;
    if app.agent().graph_names().iter().any(|graph| assistant_id(graph) == id) {
        return Err(Refusal::conflict("a graph's own assistant goes when the graph does"));
    }
    app.agent().documents().remove(ASSISTANTS, &id).await?;
    if params.delete_threads {
        for record in super::register::threads(app.agent()).await? {
            if record.metadata.get("assistant_id").is_some_and(|of| *of == *id) {
                super::threads::forget(&app, &record.thread, &caller).await?;
            }
        }
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Which versions to list.
#[derive(Debug, Deserialize, ToSchema)]
pub(in crate::api) struct VersionSearch {
    /// With this in their metadata.
    #[serde(default)]
    metadata: Option<Map<String, Value>>,
    /// At most so many, 1 to 1000.
    #[serde(default)]
    limit: Option<usize>,
    /// Leave out so many.
    #[serde(default)]
    offset: usize,
}

/// The versions of an assistant, the newest first.
#[utoipa::path(
    post, path = "/assistants/{assistant_id}/versions", tag = "assistants", request_body = VersionSearch,
    params(("assistant_id" = String, Path, description = "The assistant")),
    responses((status = 200, body = Vec<Assistant>), (status = "4XX", body = Detail)),
)]
pub(in crate::api) async fn versions(
    State(app): State<App>,
    Path(id): Path<String>,
    Input(search): Input<VersionSearch>,
) -> Result<Json<Vec<Assistant>>, Refusal> {
    let record = kept(app.agent(), &id).await?;
    let mut versions: Vec<&Version> = record.versions.iter().rev().collect();
    if let Some(wanted) = &search.metadata {
        versions.retain(|version| super::contains(&version.metadata, wanted));
    }
    let page = page(&versions, search.offset, search.limit.unwrap_or(10))?;
    Ok(Json(page.iter().map(|version| record.shown_as(version)).collect()))
}

/// Which version counts.
#[derive(Debug, Deserialize, ToSchema)]
pub(in crate::api) struct LatestVersion {
    /// Its number.
    version: u32,
}

/// Makes a version the one that counts.
#[utoipa::path(
    post, path = "/assistants/{assistant_id}/latest", tag = "assistants", request_body = LatestVersion,
    params(("assistant_id" = String, Path, description = "The assistant")),
    responses((status = 200, body = Assistant), (status = "4XX", body = Detail)),
)]
pub(in crate::api) async fn set_latest(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Input(latest): Input<LatestVersion>,
) -> Result<Json<Assistant>, Refusal> {
    let set = |record: &mut AssistantRecord| {
        let version = record.versions.iter().find(|version| version.version == latest.version);
        let none = || format!("Assistant {id} has no version {}", latest.version);
        if version.ok_or_else(|| Refusal::missing(none()))?.consents() {
            caller.must_approve()?;
        }
        (record.latest, record.updated) = (latest.version, now());
        Ok(())
    };
    changed(&app, &id, set).await
}
