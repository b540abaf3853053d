//! Every run is followed until it ends, whoever waits for it: then its record says how, its webhook is called, and a thread
//! that was made for it alone goes.

use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::sync::watch;

use super::launch::{Known, hand_over, watched};
use super::record::{Ended, Execution, RunRecord};
use super::refusal::Refusal;
use super::register::{self, now};
use super::snapshot::{response_schema, value_of};
use super::webhook;
use crate::agent::{Seen, ThreadState, ThreadStatus, Watch};
use crate::api::state::App;
use crate::base::{Clock, Coded, Problem, RunId, SystemClock, ThreadId};

/// How long those who read a run's journal may take before its temporary thread goes.
const READERS_S: u64 = 60;

/// How a run ended, and what those who wait for it get.
#[derive(Debug, Clone)]
pub(super) struct Outcome {
    pub(super) ended: Ended,
    pub(super) body: Value,
}

/// Follows a run from its making on.
pub(super) fn begin(app: &App, run: &RunRecord) -> watch::Receiver<Option<Outcome>> {
    let (sender, receiver) = watch::channel(None);
    app.register.follow(&run.id, receiver.clone());
    let begun = run.execution.clone().map(|execution| {
        let watch = watched(app, &run.thread, &execution);
        (execution, watch)
    });
    tokio::spawn(follow(app.clone(), run.thread.clone(), run.id.clone(), begun, sender));
    receiver
}

/// Takes up the runs that an earlier server of this store left.
pub(in crate::api) async fn take_up(app: &App) {
    if let Err(refusal) = webhook::take_up(app).await {
        tracing::error!("webhooks cannot be taken up: {}", refusal.detail());
    }
    let Ok(threads) = register::unfinished(app.agent()).await else { return };
    for record in threads {
        if record.open.is_empty() {
            // Its run never began, or had ended: nobody waits for it any more.
            if let Err(refusal) = register::remove_thread(app.agent(), &record.thread).await {
                tracing::error!(thread = %record.thread, "a temporary thread stays: {}", refusal.detail());
            }
        }
        for run in &record.open {
            match register::run(app.agent(), &record.thread, run.as_str()).await {
                Ok(run) => drop(begin(app, &run)),
                Err(refusal) => {
                    tracing::error!(%run, "a run cannot be taken up: {}", refusal.detail());
                }
            }
        }
    }
}

async fn follow(
    app: App,
    thread: ThreadId,
    id: RunId,
    begun: Option<(Execution, Watch)>,
    sender: watch::Sender<Option<Outcome>>,
) {
    let outcome = tokio::select! {
        outcome = to_the_end(&app, &thread, &id, begun) => outcome,
        () = app.drivers.stopped() => None,
    };
    let Some(outcome) = outcome else {
        app.register.leave(&id);
        return;
    };
    let temporary = match finish(&app, &thread, &id, &outcome).await {
        Ok(temporary) => temporary,
        Err(refusal) => {
            tracing::error!(run = %id, "the end of a run is not written down: {}", refusal.detail());
            false
        }
    };
    sender.send_replace(Some(outcome));
    app.register.leave(&id);
    if temporary {
        let readers = tokio::time::timeout(Duration::from_secs(READERS_S), sender.closed());
        let _ = readers.await;
        if let Err(refusal) = register::remove_thread(app.agent(), &thread).await {
            tracing::error!(%thread, "a temporary thread stays: {}", refusal.detail());
        }
    }
}

/// Waits until a run ends. `None`: the server stops.
async fn to_the_end(
    app: &App,
    thread: &ThreadId,
    id: &RunId,
    begun: Option<(Execution, Watch)>,
) -> Option<Outcome> {
    let begun = match begun {
        Some(begun) => Ok(Some(begun)),
        None => later(app, thread, id).await,
    };
    match begun {
        Ok(Some((execution, watch))) => Some(settled(app, thread, id, execution, watch).await?),
        Ok(None) => Some(cancelled()),
        Err(refusal) => Some(failed(Problem {
            code: "agent.run_failed".to_owned(),
            message: refusal.detail().to_owned(),
            hint: String::new(),
        })),
    }
}

/// Starts a run that was put off, when its time has come. `None`: it was cancelled before.
async fn later(
    app: &App,
    thread: &ThreadId,
    id: &RunId,
) -> Result<Option<(Execution, Watch)>, Refusal> {
    loop {
        let recalled = app.register.recalled.notified();
        let due = {
            let _held = app.register.lock(thread).await;
            let run = register::run(app.agent(), thread, id.as_str()).await?;
            if run.ended.is_some() {
                return Ok(None);
            }
            run.due.unwrap_or(run.created)
        };
        tokio::select! {
            () = SystemClock.sleep_until(due) => break,
            () = recalled => {}
        }
    }
    let _held = app.register.lock(thread).await;
    let mut record = register::thread(app.agent(), thread).await?;
    let Ok(mut run) = register::run(app.agent(), thread, id.as_str()).await else {
        return Ok(None);
    };
    if run.ended.is_some() {
        return Ok(None);
    }
    if run.execution.is_none() {
        hand_over(app, &mut record, &mut run, Known::Maybe).await?;
        register::put_run(app.agent(), &run).await?;
        register::put_thread(app.agent(), &record).await?;
    }
    let execution = run.execution;
    Ok(execution.map(|execution| {
        let watch = watched(app, thread, &execution);
        (execution, watch)
    }))
}

/// Watches a run that was handed over until it ends; `None`: the server stops.
async fn settled(
    app: &App,
    thread: &ThreadId,
    id: &RunId,
    mut execution: Execution,
    mut watch: Watch,
) -> Option<Outcome> {
    let mut seen = execution.journal_from;
    loop {
        let problem = match watch.next().await {
            Ok(Seen::Entry(entry)) => {
                seen = entry.seq;
                match entry.kind.as_str() {
                    "RUN_FINISHED" => {
                        let body = entry.data["output"].clone();
                        return Some(Outcome { ended: Ended::Finished, body });
                    }
                    "RUN_CANCELLED" => return Some(cancelled()),
                    "RUN_ERROR" => return Some(failed(problem_of(&entry.data))),
                    "RUN_MIGRATED" => {
                        let Some(run) = entry.data["run"].as_str() else { continue };
                        execution.run = RunId(run.to_owned());
                        if let Err(refusal) = moved(app, thread, id, &execution).await {
                            tracing::error!(run = %id, "its new name is not kept: {}", refusal.detail());
                        }
                        let journal = app.agent().follow(thread, seen);
                        watch = app.drivers.watch(thread, execution.run.clone(), journal);
                        continue;
                    }
                    _ => continue,
                }
            }
            Ok(Seen::Rested) => match rested(app, thread, id, &execution, seen).await {
                Ok(Rest::Over(outcome)) => return Some(outcome),
                Ok(Rest::Goes) => {
                    let journal = app.agent().follow(thread, seen);
                    watch = app.drivers.watch(thread, execution.run.clone(), journal);
                    continue;
                }
                Err(problem) => problem,
            },
            Ok(Seen::Failed(problem)) => problem,
            Ok(Seen::Stopped) => return None,
            Err(error) => error.problem(),
        };
        return Some(failed(problem));
    }
}

/// Writes down that a run goes on under another name: its thread moved to another version of its graph.
async fn moved(
    app: &App,
    thread: &ThreadId,
    id: &RunId,
    execution: &Execution,
) -> Result<(), Refusal> {
    let _held = app.register.lock(thread).await;
    let mut run = register::run(app.agent(), thread, id.as_str()).await?;
    run.execution = Some(execution.clone());
    register::put_run(app.agent(), &run).await
}

/// What a thread that rests means for a run.
enum Rest {
    Over(Outcome),
    Goes,
}

async fn rested(
    app: &App,
    thread: &ThreadId,
    id: &RunId,
    execution: &Execution,
    seen: u64,
) -> Result<Rest, Problem> {
    let agent = app.agent();
    let state = agent.look(thread).await.map_err(|error| error.problem())?;
    let Some(state) = state.filter(|state| state.run == execution.run) else {
        // It is queued. To LangGraph a run that asks is over, and does not keep others from starting.
        if agent.state(thread).await.is_ok_and(|s| s.status == ThreadStatus::Interrupted) {
            let by = register::run(agent, thread, id.as_str()).await.ok();
            let by = by.and_then(|run| run.order.by);
            agent.cancel_as(thread, by.as_deref()).await.map_err(|error| error.problem())?;
        }
        return Ok(Rest::Goes);
    };
    match state.status {
        ThreadStatus::Interrupted if state.interrupts.is_empty() => {
            Ok(Rest::Over(Outcome { ended: Ended::Held, body: json!(answered(app, &state)) }))
        }
        ThreadStatus::Interrupted => {
            let mut body = answered(app, &state);
            body.insert("__interrupt__".to_owned(), Value::Array(asked(&state)));
            Ok(Rest::Over(Outcome { ended: Ended::Asked, body: Value::Object(body) }))
        }
        ThreadStatus::Idle | ThreadStatus::Busy => {
            // It waits for something from outside: look again when something has happened.
            let mut journal = agent.follow(thread, seen);
            journal.next().await.map_err(|error| error.problem())?;
            Ok(Rest::Goes)
        }
        ThreadStatus::Done => {
            let body = json!(answered(app, &state));
            Ok(Rest::Over(Outcome { ended: Ended::Finished, body }))
        }
        ThreadStatus::Cancelled => Ok(Rest::Over(cancelled())),
        ThreadStatus::Error => {
            let problem = state.error.unwrap_or_else(|| problem_of(&Value::Null));
            Ok(Rest::Over(failed(problem)))
        }
    }
}

/// The channels that the graph answers with, as far as they are set.
pub(super) fn answered(app: &App, state: &ThreadState) -> Map<String, Value> {
    let output = app.agent().graph_shape(&state.graph).map(|shape| shape.output);
    let output = output.unwrap_or_default();
    // Those of subgraphs are no business of the graph's callers.
    let wanted = |name: &&String| match output.is_empty() {
        true => !name.contains('/'),
        false => output.contains(name),
    };
    let values = state.values.iter().filter(|(name, _)| wanted(name));
    values.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Open questions as those who wait get them.
fn asked(state: &ThreadState) -> Vec<Value> {
    let question = |open: &crate::agent::OpenQuestion| {
        let question = json!(open.question);
        json!({
            "value": value_of(&question),
            "id": open.id,
            "response_schema": response_schema(&question),
        })
    };
    state.interrupts.iter().map(question).collect()
}

pub(super) fn problem_of(data: &Value) -> Problem {
    serde_json::from_value(data["problem"].clone()).unwrap_or_else(|_| Problem {
        code: "agent.run_failed".to_owned(),
        message: data.to_string(),
        hint: String::new(),
    })
}

/// What those who wait for a failed run get.
pub(super) fn failed(problem: Problem) -> Outcome {
    let error = json!({"error": problem.code, "message": problem.message, "hint": problem.hint});
    Outcome { ended: Ended::Failed(problem), body: json!({"__error__": error}) }
}

/// What those who wait for a cancelled run get.
pub(super) fn cancelled() -> Outcome {
    let error = json!({"error": "UserInterrupt", "message": "User interrupted this run"});
    Outcome { ended: Ended::Cancelled, body: json!({"__error__": error}) }
}

/// Writes down how a run ended. Returns whether its thread goes now.
pub(super) async fn finish(
    app: &App,
    thread: &ThreadId,
    id: &RunId,
    outcome: &Outcome,
) -> Result<bool, Refusal> {
    let agent = app.agent();
    let _held = app.register.lock(thread).await;
    let mut record = register::thread(agent, thread).await?;
    record.open.retain(|open| open != id);
    let at = now();
    (record.updated, record.state_updated) = (at, at);
    let run = register::run(agent, thread, id.as_str()).await;
    if run.as_ref().is_ok_and(|run| run.ended.is_some()) {
        return Ok(record.temporary && record.open.is_empty());
    }
    if let Ok(mut run) = run {
        if let Some(execution) = &run.execution {
            record.journal_to = record.journal_to.max(execution.journal_from);
        }
        run.ended = Some(outcome.ended.clone());
        run.updated = at;
        let told = match run.order.webhook.clone() {
            Some(url) => {
                let shown = run.shown(true, app.register.url());
                Some(webhook::keep(app, url, shown, outcome.body.clone()).await?)
            }
            None => None,
        };
        let (kept_run, kept_thread) =
            tokio::join!(register::put_run(agent, &run), register::put_thread(agent, &record));
        kept_run.and(kept_thread)?;
        if let Some(pending) = told {
            webhook::send(app, pending);
        }
    } else {
        register::put_thread(agent, &record).await?;
    }
    Ok(record.temporary && record.open.is_empty())
}
