//! Letters become transitions: start, resume, signal, cancel, retry.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::draft::Draft;
use super::plan::{self, Planned};
use super::program::Program;
use super::superstep::signalled;
use super::{
    Answer, Checkpoint, Error, Letter, Named, Origin, Pauses, Posted, Progress, RunInfo, Status,
    TaskResult, TaskState, Verdict, WaitFor, fold, interrupt, kind, migrate,
};
use crate::base::{Coded, Millis, RunId, ThreadId};
use crate::graph::{Graph, Lifetime};

/// A start letter, taken apart.
pub(super) struct Start {
    pub(super) run: RunId,
    pub(super) input: BTreeMap<String, Value>,
    /// Written to channels that are no input, through their reducers.
    pub(super) writes: BTreeMap<String, Value>,
    pub(super) context: BTreeMap<String, Value>,
    /// Where it stops for somebody to look.
    pub(super) pauses: Pauses,
    /// Most supersteps it may take, where the graph would let it take more.
    pub(super) supersteps_max: Option<u64>,
    /// Take channel values from here instead of the head: what came after is taken back.
    pub(super) rollback_to: Option<Option<Arc<Checkpoint>>>,
}

fn info(head: Option<&Checkpoint>, graph: &Graph, start: &Start, now: Millis) -> Arc<RunInfo> {
    Arc::new(RunInfo {
        id: start.run.clone(),
        graph: graph.name.clone(),
        graph_hash: graph.hash.clone(),
        context: Arc::new(start.context.clone()),
        started: now,
        thread_created: head.map_or(now, |head| head.run.thread_created),
        parent_seq: head.map_or(0, |head| head.seq),
        pauses: start.pauses.clone(),
        supersteps_max: start.supersteps_max,
        continues: None,
    })
}

/// The first checkpoint of a new run: its input, and its first superstep planned. `old`: the version of its graph that left the
/// values it begins on, where that is another.
pub(super) fn start(
    thread: &ThreadId,
    head: Option<&Checkpoint>,
    (program, old): (&Program, Option<&Program>),
    start: Start,
    now: Millis,
) -> Draft {
    let graph = &program.graph;
    let run = info(head, graph, &start, now);
    let state = Checkpoint {
        thread: thread.clone(),
        seq: 1,
        run,
        superstep: 0,
        status: Status::Running,
        channels: Named::new(),
        tasks: Vec::new(),
        progress: Progress::default(),
        grants: Vec::new(),
        signals: Vec::new(),
        error: None,
        at: now,
    };
    let mut draft = match head {
        None => Draft::first(state),
        Some(head) => {
            let mut draft = Draft::after(head, now);
            draft.state =
                Checkpoint { seq: head.seq + 1, channels: head.channels.clone(), ..state };
            draft
        }
    };
    draft.closes_superstep = true;
    draft.origin = Origin::Start;
    let base = match &start.rollback_to {
        Some(to) => {
            take_back(&mut draft, to.as_deref());
            draft.grown_from = Some(to.as_ref().map_or(0, |to| to.seq));
            to.as_deref()
        }
        None => head,
    };
    let before = base.map_or(0, |base| base.progress.lineage.step);
    draft.state.progress.lineage.step = before + 1;
    let begun = json!({ "graph": graph.name, "hash": graph.hash, "input": start.input });
    draft.event(kind::RUN_STARTED, begun);
    let given = |name: &str| start.input.contains_key(name) || start.writes.contains_key(name);
    let inherited = match (base, old) {
        (Some(base), Some(old)) => migrate::inherit(&mut draft, base, old, program, given),
        _ => Ok(()),
    };
    reset_channels(&mut draft, program);
    for (channel, value) in start.input {
        draft.set(&channel, Some(Arc::new(value)), 0);
    }
    let mut writes = [TaskResult::of("input", start.writes.into_iter().collect())];
    let folded = inherited
        .and_then(|()| check_inherited(&draft.state, program, |_| false))
        .and_then(|()| fold::fold(&mut draft, program, &mut writes));
    if let Err(error) = folded {
        draft.fail(plan::fatal(None, &error));
        return draft;
    }
    let planned = graph.start.iter().copied().map(Planned::start).collect();
    plan::open(&mut draft, program, planned);
    draft
}

/// Whether values that earlier runs left fit the graph, those aside that are `given` anew or start anew.
///
/// Errors: [`Error::StateIncompatible`].
pub(super) fn check_inherited(
    state: &Checkpoint,
    program: &Program,
    given: impl Fn(&String) -> bool,
) -> Result<(), Error> {
    for (name, channel) in &program.graph.channels {
        if channel.lifetime != Lifetime::Thread || given(name) {
            continue;
        }
        let slot = state.channels.get(name);
        if let Some(value) = slot.and_then(|slot| slot.value.as_deref()) {
            program.check_inherited(name, value)?;
        }
    }
    Ok(())
}

/// The values of `to` under new versions.
fn take_back(draft: &mut Draft, to: Option<&Checkpoint>) {
    let names: Vec<String> = draft.state.channels.keys().map(str::to_owned).collect();
    for name in names {
        let before = to.and_then(|to| to.channels.get(&name)).and_then(|slot| slot.value.clone());
        if draft.value(&name) != before {
            draft.set(&name, before, 0);
        }
    }
}

/// Channels of a run start anew; unset ones get their default.
fn reset_channels(draft: &mut Draft, program: &Program) {
    for (name, channel) in &program.graph.channels {
        let held = draft.value(name);
        let keeps = channel.lifetime == Lifetime::Thread && held.is_some();
        if !keeps && held.as_deref() != channel.default.as_ref() {
            draft.set(name, channel.default.clone().map(Arc::new), 0);
        }
    }
}

/// Applies a letter to a thread that has a run. `None`: its time has not come, it stays in the inbox.
pub(super) fn apply(head: &Checkpoint, posted: &Posted, now: Millis) -> Option<Draft> {
    let mut draft = Draft::after(head, now);
    draft.applied.push(posted.id);
    let outcome = match &posted.letter {
        Letter::Start { .. } => return None,
        Letter::Resume { interrupt, answer, by } => resume(&mut draft, interrupt, answer, by),
        Letter::Signal { name, payload } => signal(&mut draft, name, payload),
        Letter::Cancel { run, by } => cancel(&mut draft, run, by),
        Letter::Retry { by } => retry(&mut draft, by),
    };
    if let Err(error) = outcome {
        // A fresh draft: a refused letter changes nothing but the journal.
        draft = Draft::after(head, now);
        draft.applied.push(posted.id);
        let refused = json!({ "letter": posted.letter, "problem": error.problem() });
        draft.event(kind::REFUSED, refused);
    }
    Some(draft)
}

fn resume(draft: &mut Draft, id: &str, answer: &Value, by: &str) -> Result<(), Error> {
    let found = interrupt::find(&draft.state, Some(id), answer)?.clone();
    let Some(task) = draft.state.tasks.iter_mut().find(
        |task| matches!(&task.state, TaskState::Asked(interrupt) if interrupt.id == found.id),
    ) else {
        return Ok(());
    };
    let node = task.node.clone();
    task.state = match found.doubt {
        None => TaskState::Answered(Answer { value: answer.clone(), by: by.to_owned() }),
        Some(key) => {
            let happened = answer.get("happened").and_then(Value::as_bool) == Some(true);
            let result = || answer.get("result").cloned().unwrap_or(Value::Null);
            let verdict = if happened { Verdict::Done(result()) } else { Verdict::NotDone };
            draft.effects.push((key, verdict));
            TaskState::Ready
        }
    };
    draft.state.status = draft.state.status_of_tasks(draft.state.at);
    draft.event(kind::RESUMED, json!({ "node": node, "id": id, "answer": answer, "by": by }));
    Ok(())
}

fn signal(draft: &mut Draft, name: &str, payload: &Value) -> Result<(), Error> {
    if draft.state.status.is_over() {
        return Err(no_run(draft, "signal"));
    }
    let waits = |state: &TaskState| matches!(state, TaskState::Waiting(WaitFor::Signal { name: wanted, .. }) if wanted == name);
    match draft.state.tasks.iter_mut().find(|task| waits(&task.state)) {
        Some(task) => {
            let woken = signalled(name, payload.clone());
            let node = task.node.clone();
            task.state = TaskState::Woken(woken.clone());
            draft.state.status = draft.state.status_of_tasks(draft.state.at);
            draft.event(kind::WOKEN, json!({ "node": node, "woken": woken }));
        }
        // It came early: whoever waits for it next finds it.
        None => draft.state.signals.push((name.to_owned(), payload.clone())),
    }
    Ok(())
}

fn cancel(draft: &mut Draft, run: &RunId, by: &str) -> Result<(), Error> {
    if draft.state.status.is_over() || draft.state.run.id != *run {
        return Err(no_run(draft, "cancel"));
    }
    draft.state.status = Status::Cancelled;
    draft.event(kind::RUN_CANCELLED, json!({ "by": by }));
    Ok(())
}

/// Runs what failed again, and lets what is held start.
fn retry(draft: &mut Draft, by: &str) -> Result<(), Error> {
    let failed = draft.state.status == Status::Error && !draft.state.tasks.is_empty();
    if !failed && !draft.state.is_held() {
        return Err(no_run(draft, "let go on"));
    }
    if failed {
        draft.state.error = None;
    }
    draft.state.tasks.iter_mut().for_each(|task| task.held = false);
    draft.state.status = draft.state.status_of_tasks(draft.state.at);
    draft.event(kind::RESUMED, json!({ "retry": failed, "by": by }));
    Ok(())
}

/// Takes a queued run back: two letters that cancel each other out.
pub(super) fn withdraw(head: &Checkpoint, queued: &Posted, cancel: &Posted, now: Millis) -> Draft {
    let mut draft = Draft::after(head, now);
    draft.applied.extend([queued.id, cancel.id]);
    if let Letter::Cancel { run, by } = &cancel.letter {
        draft.event(kind::RUN_CANCELLED, json!({ "by": by, "queued": true }));
        if let Some(event) = draft.events.last_mut() {
            event.run = run.clone();
        }
    }
    draft
}

fn no_run(draft: &Draft, action: &'static str) -> Error {
    Error::NoRun { thread: draft.state.thread.clone(), action }
}
