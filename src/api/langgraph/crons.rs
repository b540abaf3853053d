//! `/runs/crons`: runs that are started again and again.

use axum::extract::{Path, State};
use axum::http::{HeaderName, StatusCode};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::assistants::AssistantRecord;
use super::order::{RunRequest, Sender};
use super::protocol::{is_uuid, stamp};
use super::refusal::{Detail, Input, Refusal};
use super::register::{read_all, read_version, write_over};
use super::schedule::Schedule;
use super::threads::known;
use super::{ATTEMPTS, Order, PAGINATION_TOTAL, assistants, contains, page, selected};
use crate::agent::Agent;
use crate::api::security::{Caller, Scope, origin_of};
use crate::api::state::App;
use crate::base::{Millis, ThreadId};

/// Collection of crons.
pub(super) const CRONS: &str = crate::agent::CRON_RECORDS;

/// What is kept of a cron.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct CronRecord {
    pub(super) id: String,
    pub(super) assistant: String,
    pub(super) thread: Option<ThreadId>,
    schedule: String,
    timezone: Option<String>,
    end: Option<Millis>,
    /// The request of its runs, as it is shown.
    pub(super) payload: Value,
    pub(super) next: Option<Millis>,
    metadata: Map<String, Value>,
    pub(super) on_run_completed: Option<String>,
    enabled: bool,
    created: Millis,
    updated: Millis,
    /// Who said last what it does; `None`: whoever operates this server.
    #[serde(default)]
    pub(super) by: Option<String>,
    /// The version of its assistant that they saw, if they may consent to effects on users: to nothing else they did.
    #[serde(default)]
    pub(super) approved: Option<u32>,
}

/// A run that is started again and again.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct Cron {
    cron_id: String,
    assistant_id: String,
    /// Where it runs; `null`: on a thread of its own each time.
    thread_id: Option<String>,
    user_id: &'static str,
    /// No run is started after this.
    end_time: Option<String>,
    /// `minute hour day month weekday`.
    schedule: String,
    /// Name of a time zone; `null`: UTC.
    timezone: Option<String>,
    /// The request of its runs.
    payload: Value,
    /// When the next run starts.
    next_run_date: Option<String>,
    metadata: Map<String, Value>,
    /// What becomes of the threads of its runs: `delete`, `keep`.
    on_run_completed: Option<String>,
    enabled: bool,
    created_at: String,
    updated_at: String,
}

impl CronRecord {
    fn shown(&self) -> Cron {
        Cron {
            cron_id: self.id.clone(),
            assistant_id: self.assistant.clone(),
            thread_id: self.thread.as_ref().map(ToString::to_string),
            user_id: "",
            end_time: self.end.map(stamp),
            schedule: self.schedule.clone(),
            timezone: self.timezone.clone(),
            payload: self.payload_shown(),
            next_run_date: self.next.map(stamp),
            metadata: self.metadata.clone(),
            on_run_completed: self.on_run_completed.clone(),
            enabled: self.enabled,
            created_at: stamp(self.created),
            updated_at: stamp(self.updated),
        }
    }

    /// The request of its runs without what only those who made it should know.
    fn payload_shown(&self) -> Value {
        let mut payload = self.payload.clone();
        if let Some(Value::String(url)) = payload.get_mut("webhook") {
            *url = origin_of(url);
        }
        payload
    }

    /// Sets the next moment after `after`.
    pub(super) fn plan(&mut self, after: Millis) -> Result<(), Refusal> {
        let schedule = Schedule::parse(&self.schedule, self.timezone.as_deref());
        let schedule =
            schedule.map_err(|reason| Refusal::invalid(format!("`schedule`: {reason}")))?;
        let next = schedule.next(after).filter(|next| self.end.is_none_or(|end| *next <= end));
        self.next = next.filter(|_| self.enabled);
        Ok(())
    }
}

/// A cron to make. Fields of runs that are not named here go to its runs.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub(in crate::api) struct CronCreate {
    /// `minute hour day month weekday`.
    schedule: String,
    /// Name of a graph, or id of an assistant.
    assistant_id: String,
    /// Name of a time zone; left out: UTC.
    #[serde(default)]
    timezone: Option<String>,
    /// No run is started after this.
    #[serde(default)]
    end_time: Option<String>,
    #[serde(default)]
    enabled: Option<bool>,
    #[serde(default)]
    metadata: Option<Map<String, Value>>,
    /// What becomes of the threads of its runs: `delete` or `keep`.
    #[serde(default)]
    on_run_completed: Option<String>,
    /// Everything else: fields of its runs.
    #[serde(flatten)]
    run: Map<String, Value>,
}

fn moment(text: &str) -> Result<Millis, Refusal> {
    let at: jiff::Timestamp =
        text.parse().map_err(|_| Refusal::invalid("`end_time` is no time of RFC 3339"))?;
    Ok(Millis(u64::try_from(at.as_millisecond()).unwrap_or(0)))
}

/// Refuses now what the runs of a cron would be refused for.
async fn check(
    app: &App,
    assistant: &AssistantRecord,
    record: &CronRecord,
    sender: Sender,
) -> Result<(), Refusal> {
    if record.on_run_completed.as_deref().is_some_and(|word| !matches!(word, "delete" | "keep")) {
        return Err(Refusal::invalid("`on_run_completed` is `delete` or `keep`"));
    }
    let run = RunRequest::from_value(record.payload.clone(), sender)?;
    run.check(app, assistant, record.thread.is_none()).await
}

/// The object of that name, made where there is none; `None`: it is something else.
fn object_in<'a>(
    fields: &'a mut Map<String, Value>,
    name: &str,
) -> Option<&'a mut Map<String, Value>> {
    let value = fields.entry(name).or_insert(Value::Null);
    if value.is_null() {
        *value = json!({});
    }
    value.as_object_mut()
}

/// Puts the name of the cron where its runs find it. What is misformed there stays: it is refused with the rest.
fn name_in(payload: &mut Map<String, Value>, id: &str) {
    let Some(config) = object_in(payload, "config") else { return };
    let configurable = object_in(config, "configurable");
    if let Some(configurable) = configurable {
        configurable.insert("cron_id".to_owned(), json!(id));
    }
}

async fn made(
    app: &App,
    caller: &Caller,
    thread: Option<ThreadId>,
    request: CronCreate,
) -> Result<Json<Cron>, Refusal> {
    let assistant = assistants::named(app.agent(), &request.assistant_id).await?;
    let id = app.register.fresh_id();
    let mut payload = Map::new();
    payload.insert("schedule".to_owned(), json!(request.schedule));
    payload.extend(request.run);
    payload.insert("assistant_id".to_owned(), json!(assistant.id));
    name_in(&mut payload, &id);
    let default = thread.is_none().then(|| "delete".to_owned());
    let at = app.security.clock.now();
    let mut record = CronRecord {
        id,
        assistant: assistant.id.clone(),
        thread,
        schedule: request.schedule,
        timezone: request.timezone,
        end: request.end_time.as_deref().map(moment).transpose()?,
        payload: Value::Object(payload),
        next: None,
        metadata: request.metadata.unwrap_or_default(),
        on_run_completed: request.on_run_completed.or(default),
        enabled: request.enabled.unwrap_or(true),
        created: at,
        updated: at,
        by: caller.consenter(),
        approved: caller.may(Scope::Approve).then(|| assistant.latest()),
    };
    check(app, &assistant, &record, Sender::from(caller)).await?;
    record.plan(at)?;
    if !write_over(app.agent(), CRONS, &record.id, 0, &record).await? {
        return Err(Refusal::conflict(format!("Cron {} already exists", record.id)));
    }
    app.register.crons.notify_one();
    Ok(Json(record.shown()))
}

/// Makes a cron whose runs have threads of their own.
#[utoipa::path(
    post, path = "/runs/crons", tag = "crons", request_body = CronCreate,
    responses((status = 200, body = Cron), (status = "4XX", body = Detail)),
)]
pub(in crate::api) async fn create(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Input(request): Input<CronCreate>,
) -> Result<Json<Cron>, Refusal> {
    made(&app, &caller, None, request).await
}

/// Makes a cron on a thread.
#[utoipa::path(
    post, path = "/threads/{thread_id}/runs/crons", tag = "crons", request_body = CronCreate,
    params(("thread_id" = String, Path, description = "The thread")),
    responses((status = 200, body = Cron), (status = "4XX", body = Detail)),
)]
pub(in crate::api) async fn create_for_thread(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(thread): Path<String>,
    Input(request): Input<CronCreate>,
) -> Result<Json<Cron>, Refusal> {
    let thread = known(&app, &thread).await?;
    made(&app, &caller, Some(thread), request).await
}

/// Which crons to find.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(in crate::api) struct CronSearch {
    /// Of this assistant.
    #[serde(default)]
    assistant_id: Option<String>,
    /// On this thread.
    #[serde(default)]
    thread_id: Option<String>,
    #[serde(default)]
    enabled: Option<bool>,
    /// With this in their metadata.
    #[serde(default)]
    metadata: Option<Map<String, Value>>,
    /// At most so many, 1 to 1000.
    #[serde(default)]
    limit: Option<usize>,
    /// Leave out so many.
    #[serde(default)]
    offset: usize,
    /// `created_at`, `updated_at` or `next_run_date`.
    #[serde(default)]
    sort_by: Option<String>,
    #[serde(default)]
    sort_order: Order,
    /// Only these fields.
    #[serde(default)]
    select: Option<Vec<String>>,
}

async fn found(agent: &Agent, search: &CronSearch) -> Result<Vec<CronRecord>, Refusal> {
    let mut records: Vec<CronRecord> = read_all(agent, CRONS).await?;
    records.retain(|record| {
        let thread = record.thread.as_ref().map(ThreadId::as_str);
        search.assistant_id.as_ref().is_none_or(|id| *id == record.assistant)
            && search.thread_id.as_deref().is_none_or(|id| thread == Some(id))
            && search.enabled.is_none_or(|enabled| enabled == record.enabled)
            && search.metadata.as_ref().is_none_or(|wanted| contains(&record.metadata, wanted))
    });
    records.sort_by_cached_key(|record| {
        let at = match search.sort_by.as_deref() {
            Some("updated_at") => record.updated,
            Some("next_run_date") => record.next.unwrap_or_default(),
            _ => record.created,
        };
        (at, record.id.clone())
    });
    if search.sort_order == Order::Desc {
        records.reverse();
    }
    Ok(records)
}

/// Finds crons.
#[utoipa::path(
    post, path = "/runs/crons/search", tag = "crons", request_body = CronSearch,
    responses(
        (status = 200, body = ref("#/components/schemas/Crons"), description = "Crons; only the fields of `select`, where it is given"),
        (status = 422, body = Detail),
    ),
)]
pub(in crate::api) async fn search(
    State(app): State<App>,
    Input(search): Input<CronSearch>,
) -> Result<([(HeaderName, String); 1], Json<Value>), Refusal> {
    let records = found(app.agent(), &search).await?;
    let page = page(&records, search.offset, search.limit.unwrap_or(10))?;
    let select = search.select.as_deref();
    let shown: Vec<Value> = page.iter().map(|r| selected(json!(r.shown()), select)).collect();
    Ok(([(PAGINATION_TOTAL, records.len().to_string())], Json(json!(shown))))
}

/// Counts crons.
#[utoipa::path(
    post, path = "/runs/crons/count", tag = "crons", request_body = CronSearch,
    responses((status = 200, content_type = "application/json", body = usize), (status = 422, body = Detail)),
)]
pub(in crate::api) async fn count(
    State(app): State<App>,
    Input(search): Input<CronSearch>,
) -> Result<Json<usize>, Refusal> {
    Ok(Json(found(app.agent(), &search).await?.len()))
}

async fn kept(agent: &Agent, id: &str) -> Result<(CronRecord, u64), Refusal> {
    if !is_uuid(id) {
        return Err(Refusal::invalid("Invalid cron ID: must be a UUID"));
    }
    let record = read_version(agent, CRONS, id).await?;
    record.ok_or_else(|| Refusal::missing(format!("Cron with ID {id} not found")))
}

/// A cron.
#[utoipa::path(
    get, path = "/runs/crons/{cron_id}", tag = "crons",
    params(("cron_id" = String, Path, description = "The cron")),
    responses((status = 200, body = Cron), (status = "4XX", body = Detail)),
)]
pub(in crate::api) async fn show(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Json<Cron>, Refusal> {
    Ok(Json(kept(app.agent(), &id).await?.0.shown()))
}

/// What to change of a cron; what is left out stays. Fields of runs that are not named here go to its runs.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub(in crate::api) struct CronPatch {
    #[serde(default)]
    schedule: Option<String>,
    #[serde(default)]
    timezone: Option<String>,
    #[serde(default)]
    end_time: Option<String>,
    #[serde(default)]
    enabled: Option<bool>,
    /// Laid over what is there.
    #[serde(default)]
    metadata: Option<Map<String, Value>>,
    #[serde(default)]
    on_run_completed: Option<String>,
    /// Everything else: fields of its runs.
    #[serde(flatten)]
    run: Map<String, Value>,
}

/// Changes a cron.
#[utoipa::path(
    patch, path = "/runs/crons/{cron_id}", tag = "crons", request_body = CronPatch,
    params(("cron_id" = String, Path, description = "The cron")),
    responses((status = 200, body = Cron), (status = "4XX", body = Detail)),
)]
pub(in crate::api) async fn update(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Input(patch): Input<CronPatch>,
) -> Result<Json<Cron>, Refusal> {
    for _ in 0..ATTEMPTS {
        let (record, version) = kept(app.agent(), &id).await?;
        let mut record = patched(&app, &caller, record, patch.clone()).await?;
        record.updated = app.security.clock.now();
        record.plan(record.updated)?;
        if write_over(app.agent(), CRONS, &id, version, &record).await? {
            app.register.crons.notify_one();
            return Ok(Json(record.shown()));
        }
    }
    Err(Refusal::conflict(format!("Cron {id} is being changed by others")))
}

/// The cron as the patch has it. What somebody consented to beforehand only somebody may change who could consent to it.
async fn patched(
    app: &App,
    caller: &Caller,
    mut record: CronRecord,
    mut patch: CronPatch,
) -> Result<CronRecord, Refusal> {
    let before = assistants::named(app.agent(), &record.assistant).await?;
    let run = RunRequest::from_value(record.payload.clone(), Sender::default())?;
    if run.consents(app, &before)? {
        caller.must_approve()?;
    }
    let assistant = match patch.run.remove("assistant_id") {
        None => before,
        Some(Value::String(name)) => assistants::named(app.agent(), &name).await?,
        Some(_) => return Err(Refusal::invalid("`assistant_id` is a text")),
    };
    record.assistant.clone_from(&assistant.id);
    if let Some(payload) = record.payload.as_object_mut() {
        payload.extend(patch.run);
        payload.insert("assistant_id".to_owned(), json!(assistant.id));
        if let Some(schedule) = &patch.schedule {
            payload.insert("schedule".to_owned(), json!(schedule));
        }
        name_in(payload, &record.id);
    }
    record.schedule = patch.schedule.unwrap_or(record.schedule);
    record.timezone = patch.timezone.or(record.timezone);
    if let Some(end) = &patch.end_time {
        record.end = Some(moment(end)?);
    }
    record.enabled = patch.enabled.unwrap_or(record.enabled);
    record.metadata.extend(patch.metadata.unwrap_or_default());
    record.on_run_completed = patch.on_run_completed.or(record.on_run_completed);
    record.by = caller.consenter();
    record.approved = caller.may(Scope::Approve).then(|| assistant.latest());
    check(app, &assistant, &record, Sender::from(caller)).await?;
    Ok(record)
}

/// Forgets a cron; its runs stay.
#[utoipa::path(
    delete, path = "/runs/crons/{cron_id}", tag = "crons",
    params(("cron_id" = String, Path, description = "The cron")),
    responses((status = 204), (status = "4XX", body = Detail)),
)]
pub(in crate::api) async fn delete(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<StatusCode, Refusal> {
    kept(app.agent(), &id).await?;
    app.agent().documents().remove(CRONS, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Forgets the crons of a thread that goes.
pub(super) async fn forget_thread(app: &App, thread: &ThreadId) -> Result<(), Refusal> {
    let records: Vec<CronRecord> = read_all(app.agent(), CRONS).await?;
    for record in records.iter().filter(|record| record.thread.as_ref() == Some(thread)) {
        app.agent().documents().remove(CRONS, &record.id).await?;
    }
    Ok(())
}
