//! Crons at work: their runs are started when their time comes.

use serde_json::json;

use super::crons::{CRONS, CronRecord};
use super::launch::launch;
use super::order::{RunRequest, Sender};
use super::refusal::Refusal;
use super::register::{read_all, read_version, write_over};
use crate::api::state::App;
use crate::base::{Millis, ThreadId};

/// Longest sleep between two looks [ms]: the machine's clock may be set.
const LOOK_MS: u64 = 60_000;

/// Starts the runs whose time comes, until the server stops. One that was missed meanwhile is made up for once.
pub(in crate::api) async fn watch(app: App) {
    loop {
        let changed = app.register.crons.notified();
        let next = match started(&app).await {
            Ok(next) => next,
            Err(refusal) => {
                tracing::error!("crons cannot be read: {}", refusal.detail());
                None
            }
        };
        let look = app.security.clock.now().plus(LOOK_MS);
        tokio::select! {
            () = app.security.clock.sleep_until(next.map_or(look, |next| next.min(look))) => {}
            () = changed => {}
            () = app.drivers.stopped() => return,
        }
    }
}

/// Starts what is due. Returns when something is next.
async fn started(app: &App) -> Result<Option<Millis>, Refusal> {
    let records: Vec<CronRecord> = read_all(app.agent(), CRONS).await?;
    let mut earliest: Option<Millis> = None;
    for record in records {
        let next = match record.next {
            Some(next) if next <= app.security.clock.now() => {
                fired(app, &record.id).await.unwrap_or_else(|refusal| {
                    tracing::error!(cron = record.id, "no run was started: {}", refusal.detail());
                    None
                })
            }
            next => next,
        };
        earliest = match (earliest, next) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }
    Ok(earliest)
}

/// Starts the run of a cron, if it is due still. Returns when its next one is.
async fn fired(app: &App, id: &str) -> Result<Option<Millis>, Refusal> {
    let found = read_version::<CronRecord>(app.agent(), CRONS, id).await?;
    let Some((mut record, version)) = found else { return Ok(None) };
    let at = app.security.clock.now();
    if record.next.is_none_or(|next| next > at) {
        return Ok(record.next);
    }
    // Planned before it is started: a crash in between leaves one out, and starts none twice.
    record.plan(at)?;
    if !write_over(app.agent(), CRONS, id, version, &record).await? {
        // Somebody changed or deleted it just now: what it is then is looked at next.
        return Ok(Some(at));
    }
    let (next, tracker, app) = (record.next, app.work.clone(), app.clone());
    // A run that displaces another waits for its superstep: other crons do not.
    tracker.spawn(async move {
        if let Err(refusal) = start(&app, &record).await {
            tracing::error!(cron = record.id, "no run was started: {}", refusal.detail());
        }
    });
    Ok(next)
}

async fn start(app: &App, record: &CronRecord) -> Result<(), Refusal> {
    let mut payload = record.payload.clone();
    if let Some(word) = &record.on_run_completed {
        payload["on_completion"] = json!(word);
    }
    let assistant = super::assistants::named(app.agent(), &record.assistant).await?;
    // Without keys everybody may do everything.
    let approves = record.approved == Some(assistant.latest()) || !app.security.is_keyed();
    let sender = Sender { by: record.by.clone(), approves };
    let request = RunRequest::from_value(payload, sender)?;
    let thread = record.thread.as_ref().map(ThreadId::as_str);
    launch(app, thread, &request).await.map(drop)
}
