//! From a request to a run at work: the thread, the record, what becomes of runs that go on, the hand-over to the runtime.

use serde_json::{Map, Value, json};
use tokio::sync::{oneshot, watch};
use tracing::Instrument;

use super::assistants::AssistantRecord;
use super::follow::{self, Outcome};
use super::order::{IfNotExists, OnCompletion, RunRequest};
use super::record::{Execution, RunRecord, Strategy, ThreadRecord};
use super::refusal::Refusal;
use super::register::{self, now};
use super::runs::{self, Attended};
use super::snapshot::History;
use super::threads::{made, made_as, thread_id};
use crate::agent::{
    Journal, Multitask, Pauses, StartRequest, StateUpdate, ThreadState, ThreadStatus, Watch,
};
use crate::api::Error;
use crate::api::state::App;
use crate::base::{RunId, ThreadId};

/// A run that was made.
pub(super) struct Launched {
    pub(super) run: RunRecord,
    /// How it ends, once it does.
    pub(super) outcome: watch::Receiver<Option<Outcome>>,
}

/// Makes a run on the thread that a path names; `None`: on one that is made for it.
///
/// Whoever asked may go meanwhile: a run that was handed over is also written down and followed.
pub(super) async fn launch(
    app: &App,
    thread: Option<&str>,
    request: &RunRequest,
) -> Result<Launched, Refusal> {
    let (sender, made) = oneshot::channel();
    let tracker = app.work.clone();
    let (app, thread) = (app.clone(), thread.map(str::to_owned));
    let request = request.clone();
    let work = async move {
        let launched = launched(&app, thread.as_deref(), &request).await;
        if let Err(Ok(launched)) = sender.send(launched) {
            // Nobody waits for it any more.
            drop(Attended::new(&app, &launched.run, request.on_disconnect, &request.sender));
        }
    };
    tracker.spawn(work.instrument(tracing::Span::current()));
    made.await.unwrap_or_else(|_| Err(Error::panicked().into()))
}

async fn launched(
    app: &App,
    thread: Option<&str>,
    request: &RunRequest,
) -> Result<Launched, Refusal> {
    let agent = app.agent();
    let assistant = super::assistants::named(agent, &request.assistant_id);
    let Some(thread) = thread else { return on_fresh(app, &assistant.await?, request).await };
    let thread = thread_id(thread)?;
    let there = agent.has_thread(&thread).await?;
    // What is refused must not leave a thread behind, nor stop what goes on.
    let assistant = assistant.await?;
    match request.if_not_exists {
        IfNotExists::Reject if !there => return Err(Refusal::no_thread(&thread)),
        _ => request.check(app, &assistant, !there).await?,
    }
    let made = !there && made(app, &thread, Map::new()).await?.is_some();
    let launched = on_thread(app, &thread, &assistant, request).await;
    if launched.is_err() {
        let _held = app.register.lock(&thread).await;
        let record = register::thread(agent, &thread).await?;
        if record.temporary || (made && record.open.is_empty() && !record.ran) {
            register::remove_thread(agent, &thread).await?;
        }
    }
    launched
}

/// Makes a run on a thread that is made for it: nothing need be asked about a thread that nobody knows yet.
async fn on_fresh(
    app: &App,
    assistant: &AssistantRecord,
    request: &RunRequest,
) -> Result<Launched, Refusal> {
    request.check(app, assistant, true).await?;
    let (agent, at) = (app.agent(), now());
    let thread = agent.fresh_thread();
    let mut record = ThreadRecord::new(thread.clone(), Map::new(), at);
    record.temporary = request.on_completion == OnCompletion::Delete;
    let launched = {
        let _held = app.register.lock(&thread).await;
        made_as(app, &record).await?;
        match request.record(app, assistant, &record, at) {
            Ok(run) => begun(app, record, run, Known::Nothing).await,
            Err(refusal) => Err(refusal),
        }
    };
    if launched.is_err()
        && let Err(refusal) = register::remove_thread(agent, &thread).await
    {
        tracing::warn!(%thread, "a thread stays that nothing was begun on: {}", refusal.detail());
    }
    launched
}

async fn on_thread(
    app: &App,
    thread: &ThreadId,
    assistant: &AssistantRecord,
    request: &RunRequest,
) -> Result<Launched, Refusal> {
    let strategy = request.multitask_strategy.unwrap_or_default();
    let open = register::thread(app.agent(), thread).await?.open;
    match strategy {
        Strategy::Interrupt | Strategy::Rollback => {
            for run in &open {
                runs::stop(app, thread, run, request.sender.by.as_deref()).await?;
            }
        }
        Strategy::Enqueue | Strategy::Reject => {}
    }
    let _held = app.register.lock(thread).await;
    let mut record = register::thread(app.agent(), thread).await?;
    if strategy == Strategy::Reject && !record.open.is_empty() {
        return Err(Refusal::busy());
    }
    let mut run = request.record(app, assistant, &record, now())?;
    if strategy == Strategy::Rollback {
        for displaced in &open {
            if let Some((from, to)) = runs::forget(app, thread, displaced).await? {
                run.order.from = run.order.from.or(Some(from));
                record.rolled_back.push((from, to));
            }
        }
    }
    begun(app, record, run, Known::Maybe).await
}

/// What may be known of a thread.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// It was made a moment ago, and no run on it.
    Nothing,
    /// The store has to be asked.
    Maybe,
}

/// Hands a run over that can begin now, follows it, and writes both records down. The caller holds the thread's lock.
async fn begun(
    app: &App,
    mut record: ThreadRecord,
    mut run: RunRecord,
    known: Known,
) -> Result<Launched, Refusal> {
    if !record.temporary {
        record.metadata.insert("graph_id".to_owned(), json!(run.graph));
        record.metadata.insert("assistant_id".to_owned(), json!(run.assistant));
    }
    record.updated = run.created;
    if run.due.is_none() {
        hand_over(app, &mut record, &mut run, known).await?;
    }
    record.open.push(run.id.clone());
    let outcome = follow::begin(app, &run);
    let (kept_run, kept_thread) = tokio::join!(
        register::put_run(app.agent(), &run),
        register::put_thread(app.agent(), &record)
    );
    kept_run.and(kept_thread)?;
    Ok(Launched { run, outcome })
}

/// Hands a run over to the runtime, and notes where it is found there.
pub(super) async fn hand_over(
    app: &App,
    record: &mut ThreadRecord,
    run: &mut RunRecord,
    known: Known,
) -> Result<(), Refusal> {
    let (state, journal_from) = match known {
        Known::Nothing => (None, 0),
        Known::Maybe => {
            let state = app.agent().look(&run.thread).await?;
            (state, journal_end(app, &run.thread, record.journal_to).await?.1)
        }
    };
    let seq_from = state.as_ref().map_or(0, |state| state.seq);
    let execution = begin(app, run, state.as_ref()).await?;
    if run.order.resume.is_none() && run.order.checkpoint.is_none() && run.due.is_none() {
        // A run that begins something has one name everywhere.
        rename(run, &execution, state.as_ref());
    }
    run.execution = Some(Execution { run: execution, journal_from, seq_from });
    record.ran = true;
    app.metrics.run_started();
    Ok(())
}

fn rename(run: &mut RunRecord, execution: &RunId, before: Option<&ThreadState>) {
    if before.is_some_and(|state| state.run == *execution) {
        return;
    }
    run.id.clone_from(execution);
    run.kwargs["config"]["configurable"]["run_id"] = json!(execution);
}

/// The journal of a thread from its end on, and the place of that end.
pub(super) async fn journal_end(
    app: &App,
    thread: &ThreadId,
    after: u64,
) -> Result<(Journal, u64), Refusal> {
    let mut journal = app.agent().follow(thread, after);
    let mut end = after;
    while let Some(entry) = journal.try_next().await.map_err(crate::agent::Error::from)? {
        end = entry.seq;
    }
    Ok((journal, end))
}

/// Wakes the thread and watches a run from where it began.
pub(super) fn watched(app: &App, thread: &ThreadId, execution: &Execution) -> Watch {
    let journal = app.agent().follow(thread, execution.journal_from);
    app.drivers.watch(thread, execution.run.clone(), journal)
}

/// Lets the runtime begin what is ordered. Returns the run as the runtime knows it.
async fn begin(app: &App, run: &RunRecord, state: Option<&ThreadState>) -> Result<RunId, Refusal> {
    let agent = app.agent();
    let (thread, order) = (&run.thread, &run.order);
    if let Some(id) = &order.checkpoint {
        return from_checkpoint(app, run, id).await;
    }
    if let Some(update) = &order.update {
        let values = update.clone().into_iter().collect();
        let goto = order.goto.clone();
        let by = order.by.clone().unwrap_or_default();
        let update = StateUpdate { values, goto, by, ..StateUpdate::default() };
        agent.update_state(thread, update).await?;
    } else if !order.goto.is_empty() {
        let goto = order.goto.clone();
        let by = order.by.clone().unwrap_or_default();
        agent.update_state(thread, StateUpdate { goto, by, ..StateUpdate::default() }).await?;
    }
    if let Some(answer) = &order.resume {
        return resume(app, run, answer, state).await;
    }
    let changed = order.update.is_some() || !order.goto.is_empty();
    match state {
        Some(_) if changed => go_on(app, run).await,
        Some(state) if order.input.is_none() && state.status == ThreadStatus::Interrupted => {
            go_on(app, run).await
        }
        Some(state) if order.input.is_none() && state.status == ThreadStatus::Error => {
            go_on(app, run).await
        }
        _ => start(app, run, state, order.from).await,
    }
}

/// Lets what is held or failed go on. Where something is asked nothing happens: it is asked still.
async fn go_on(app: &App, run: &RunRecord) -> Result<RunId, Refusal> {
    let thread = &run.thread;
    let state = app.agent().state(thread).await?;
    if !state.held.is_empty() || state.status == ThreadStatus::Error {
        app.agent().go_on_as(thread, run.order.by.as_deref()).await?;
    }
    Ok(state.run)
}

async fn resume(
    app: &App,
    run: &RunRecord,
    answer: &Value,
    state: Option<&ThreadState>,
) -> Result<RunId, Refusal> {
    let (thread, by) = (&run.thread, run.order.by.as_deref());
    let Some(state) = state else {
        return Err(Refusal::conflict(format!(
            "thread `{thread}` asks nothing: no run of it has begun"
        )));
    };
    let open: Vec<&str> = state.interrupts.iter().map(|open| open.id.as_str()).collect();
    match answer.as_object() {
        Some(answers)
            if !answers.is_empty() && answers.keys().all(|id| open.contains(&id.as_str())) =>
        {
            for (id, answer) in answers {
                app.agent().answer_to(thread, Some(id), answer.clone(), by).await?;
            }
        }
        _ => app.agent().answer_to(thread, None, answer.clone(), by).await?,
    }
    Ok(state.run.clone())
}

async fn start(
    app: &App,
    run: &RunRecord,
    state: Option<&ThreadState>,
    from: Option<u64>,
) -> Result<RunId, Refusal> {
    // To LangGraph a run that asks is over: a new input goes on without the answer.
    let asks = state.is_some_and(|state| state.status == ThreadStatus::Interrupted);
    let order = &run.order;
    // To LangGraph every channel is an input.
    let none = Map::new();
    let given = order.input.as_ref().and_then(Value::as_object).unwrap_or(&none);
    let (input, writes) = app.agent().sorted_input(&run.graph, given)?;
    let request = StartRequest {
        graph: run.graph.clone(),
        input: Value::Object(input),
        writes,
        context: order.context.clone(),
        config: app.config(),
        multitask: if asks { Multitask::Interrupt } else { Multitask::Enqueue },
        pauses: Pauses { before: order.before.clone(), after: order.after.clone() },
        from,
        supersteps_max: order.supersteps_max,
        by: order.by.clone(),
    };
    Ok(app.agent().start_run(&run.thread, request).await?)
}

/// Goes on from an earlier state: with an input, on its values; without, with what was to do then.
async fn from_checkpoint(app: &App, run: &RunRecord, id: &str) -> Result<RunId, Refusal> {
    let place = super::states::place(id)?;
    let history = History::open(app, &run.thread).await?;
    let moment = history.at(place.seq).await?;
    let moment = moment.ok_or_else(|| Refusal::missing(format!("Checkpoint {id} not found")))?;
    let then = moment.newest();
    if run.order.input.is_some() {
        let from = if place.input { then.lineage.parent } else { then.seq };
        let state = app.agent().look(&run.thread).await?;
        return start(app, run, state.as_ref(), Some(from)).await;
    }
    app.agent().rewind(&run.thread, then.seq).await?;
    if let Some(answer) = &run.order.resume {
        let state = app.agent().look(&run.thread).await?;
        return resume(app, run, answer, state.as_ref()).await;
    }
    go_on(app, run).await
}
