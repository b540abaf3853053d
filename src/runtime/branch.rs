//! Time travel: a run goes on from any checkpoint, on its own thread or on a new one. What had finished there stays
//! finished; what comes after is a run of its own, with its own side effects.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value, json};

use super::draft::Draft;
use super::task::interrupt_id;
use super::{
    Checkpoint, Error, Event, Origin, RunInfo, Runtime, TaskResult, TaskState, ThreadState, Usage,
    WaitFor, kind,
};
use crate::base::{Millis, RunId, ThreadId};

/// What a graph calls the value of its context that may say `never`: nobody is asked.
const APPROVAL: &str = "approval";
/// Journal entries read at a time.
const PAGE: usize = 1_024;

/// How two branches differ.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ThreadDiff {
    /// The newest checkpoint that both have in common; 0: none.
    pub common_seq: u64,
    /// Channels that hold different values.
    pub channels: BTreeMap<String, Sides<Value>>,
    /// Nodes that were started differently often.
    pub visits: BTreeMap<String, Sides<u64>>,
    /// Nodes that come next, where they differ.
    pub next: Option<Sides<Vec<String>>>,
}

/// The same thing in two branches; `null` where it is not there.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sides<T> {
    /// In the first.
    pub left: Option<T>,
    /// In the second.
    pub right: Option<T>,
}

impl Runtime {
    /// Makes `to` with the history of `from` up to checkpoint `seq` (`None`: all of it). What was open there is held until
    /// it is told to go on, as a run of its own; consent to production effects is not inherited.
    ///
    /// Errors: no such thread or checkpoint, `to` exists, an effect in doubt at that checkpoint.
    pub async fn fork(
        &self,
        from: &ThreadId,
        seq: Option<u64>,
        to: &ThreadId,
    ) -> Result<ThreadState, Error> {
        let source = self.checkpoint(from, seq).await?;
        let finished = self.finished_at(&source).await?;
        let place = Place { thread: from.clone(), seq: source.seq };
        self.alter_new(
            to,
            || self.store().fork(from, source.seq, to),
            |draft, run| {
                revive(draft, &source, run, &place, &finished);
                finished.clone()
            },
        )
        .await
    }

    /// Sets a thread back to checkpoint `seq`: a new checkpoint with the values and open tasks of the old one, held until it
    /// is told to go on. History only grows: what came in between stays readable.
    ///
    /// Errors: no such thread or checkpoint, a run that is at work, an effect in doubt at that checkpoint.
    pub async fn rewind(&self, thread: &ThreadId, seq: u64) -> Result<ThreadState, Error> {
        let source = self.checkpoint(thread, Some(seq)).await?;
        let finished = self.finished_at(&source).await?;
        let place = Place { thread: thread.clone(), seq };
        self.alter(thread, move |draft, run, _| {
            let held = draft.state.channels.keys().chain(source.channels.keys());
            let names: BTreeSet<String> = held.map(str::to_owned).collect();
            for name in names {
                let before = source.channels.get(&name).and_then(|slot| slot.value.clone());
                if draft.value(&name) != before {
                    draft.set(&name, before, 0);
                }
            }
            draft.closes_superstep = true;
            revive(draft, &source, run, &place, &finished);
            Ok(finished)
        })
        .await
    }

    /// How two checkpoints differ; `None` for a seq is the newest.
    ///
    /// Errors: no such thread or checkpoint.
    pub async fn diff(
        &self,
        left: (&ThreadId, Option<u64>),
        right: (&ThreadId, Option<u64>),
    ) -> Result<ThreadDiff, Error> {
        let (a, b) =
            (self.checkpoint(left.0, left.1).await?, self.checkpoint(right.0, right.1).await?);
        let common_seq = self.common(&a, &b).await?;
        let next = |state: &Checkpoint| ThreadState::from(state).next;
        let (next_a, next_b) = (next(&a), next(&b));
        Ok(ThreadDiff {
            common_seq,
            channels: differing(&a.values(), &b.values()),
            visits: differing(&a.visits(), &b.visits()),
            next: (next_a != next_b).then_some(Sides { left: Some(next_a), right: Some(next_b) }),
        })
    }

    async fn common(&self, a: &Checkpoint, b: &Checkpoint) -> Result<u64, Error> {
        let mut before = Some(a.seq.min(b.seq) + 1);
        loop {
            let left = self.store().history(&a.thread, before, PAGE).await?;
            let right = self.store().history(&b.thread, before, PAGE).await?;
            let right: BTreeMap<u64, _> = right.iter().map(|state| (state.seq, state)).collect();
            let same = left.iter().find(|state| {
                right.get(&state.seq).is_some_and(|other| {
                    (&state.run.id, state.at, state.superstep)
                        == (&other.run.id, other.at, other.superstep)
                })
            });
            match (same, left.last()) {
                (Some(state), _) => return Ok(state.seq),
                (None, Some(oldest)) if !right.is_empty() => before = Some(oldest.seq),
                (None, _) => return Ok(0),
            }
        }
    }

    /// The checkpoint at `seq`, or the newest.
    async fn checkpoint(
        &self,
        thread: &ThreadId,
        seq: Option<u64>,
    ) -> Result<Arc<Checkpoint>, Error> {
        let head = self.store().head(thread).await?;
        let head = head.ok_or_else(|| Error::UnknownThread(thread.clone()))?;
        match seq {
            Some(seq) if seq != head.seq => {
                let state = self.store().state_at(thread, seq).await?;
                state.ok_or_else(|| Error::UnknownCheckpoint { thread: thread.clone(), seq })
            }
            _ => Ok(head),
        }
    }

    /// Results of the tasks that were finished in the superstep that was open at `source`.
    async fn finished_at(&self, source: &Checkpoint) -> Result<Vec<TaskResult>, Error> {
        let doubt = source.interrupts().find(|(_, interrupt)| interrupt.doubt.is_some());
        if let Some((node, _)) = doubt {
            return Err(Error::ForkInDoubt { node: node.to_owned(), seq: source.seq });
        }
        let mut wanted: BTreeSet<&str> = source
            .tasks
            .iter()
            .filter(|task| task.state == TaskState::Finished)
            .map(|task| task.node.as_str())
            .collect();
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let head = self.store().head(&source.thread).await?;
        let is_open = head.is_some_and(|head| {
            (&head.run.id, head.superstep) == (&source.run.id, source.superstep)
                && !matches!(head.status, super::Status::Done)
        });
        let mut found = Vec::new();
        if is_open {
            found = self.store().results(&source.thread).await?;
            found.retain(|result| wanted.remove(result.node.as_str()));
        }
        let mut thread = Some(source.thread.clone());
        let mut seen = BTreeSet::new();
        while let (false, Some(here)) = (wanted.is_empty(), thread.take()) {
            // A fork has the history of another thread, whose journal tells of it.
            let from = self.search_journal(&here, source, &mut wanted, &mut found).await?;
            thread = from.filter(|from| seen.insert(from.clone()));
        }
        // A person who consented there did not consent to its repetition.
        found.iter_mut().for_each(|result| result.grant = None);
        match wanted.first() {
            None => Ok(found),
            Some(node) => Err(Error::ForkIncomplete { node: (*node).to_owned(), seq: source.seq }),
        }
    }

    /// Looks in a journal for results of tasks that are `wanted`. Returns the thread that this one was forked from.
    async fn search_journal(
        &self,
        thread: &ThreadId,
        source: &Checkpoint,
        wanted: &mut BTreeSet<&str>,
        found: &mut Vec<TaskResult>,
    ) -> Result<Option<ThreadId>, Error> {
        let (mut after, mut from) = (0, None);
        while !wanted.is_empty() {
            let events = self.store().events(thread, after, PAGE).await?;
            let Some(last) = events.last() else { break };
            after = last.seq;
            for event in &events {
                if event.kind == kind::RUN_FORKED && event.data["thread"] != *thread.as_str() {
                    let other = event.data["thread"].as_str();
                    from = other.map(|other| ThreadId(other.to_owned()));
                }
                let Some(result) = told(event, source) else { continue };
                if wanted.remove(event.data["node"].as_str().unwrap_or_default()) {
                    found.extend(result);
                }
            }
        }
        Ok(from)
    }
}

/// Where a run came from.
struct Place {
    thread: ThreadId,
    seq: u64,
}

/// The result that the journal has of a task of the superstep that was open at `source`; `Some(None)`: it failed and a route took
/// over, which is a fresh decision in a fresh run.
fn told(event: &Event, source: &Checkpoint) -> Option<Option<TaskResult>> {
    let data = &event.data;
    let is_end = [kind::STEP_FINISHED, kind::STEP_KEPT].contains(&event.kind.as_str());
    if !is_end || event.run != source.run.id {
        return None;
    }
    let planned = source.tasks.iter().find(|task| data["node"] == *task.node)?;
    if data["superstep"].as_u64() != Some(planned.superstep(source)) {
        return None;
    }
    if event.kind == kind::STEP_KEPT {
        let result: TaskResult = serde_json::from_value(data["result"].clone()).ok()?;
        return Some(Some(result).filter(|result| result.failed.is_none()));
    }
    if data.get("error").is_some() {
        return Some(None);
    }
    let writes = data["writes"].as_object()?;
    let writes = writes.iter().map(|(channel, value)| (channel.clone(), value.clone())).collect();
    let usage =
        data.get("usage").and_then(|usage| serde_json::from_value::<Usage>(usage.clone()).ok());
    let result = TaskResult::of(data["node"].as_str()?, writes);
    let goto = data.get("goto").and_then(|goto| serde_json::from_value(goto.clone()).ok());
    Some(Some(TaskResult { usage: usage.unwrap_or_default(), goto, ..result }))
}

/// Lets the run of `source` go on in `draft` as a run of its own, held.
fn revive(
    draft: &mut Draft,
    source: &Checkpoint,
    run: RunId,
    from: &Place,
    finished: &[TaskResult],
) {
    let now = draft.state.at;
    let later = now.since(source.at);
    draft.closes_superstep = true;
    draft.origin = Origin::Fork;
    draft.grown_from = Some(source.seq);
    draft.state.run = Arc::new(RunInfo {
        id: run,
        continues: None,
        // What it had spent of its wall time then is what it has spent now.
        started: Millis(source.run.started.0 + later),
        parent_seq: draft.state.seq - 1,
        context: Arc::new(asking(&source.run.context)),
        ..(*source.run).clone()
    });
    draft.state.superstep = source.superstep;
    draft.state.progress = source.progress.clone();
    draft.state.signals = source.signals.clone();
    draft.state.grants.clear();
    draft.state.error = source.error.clone();
    draft.state.tasks = source.tasks.clone();
    for task in &mut draft.state.tasks {
        task.held = true;
        match &mut task.state {
            TaskState::Asked(interrupt) => {
                task.held = false;
                let expiry = &mut interrupt.question.expires_at;
                *expiry = expiry.map(|at| at + later);
            }
            TaskState::At(at) => *at = at.plus(later),
            TaskState::Waiting(WaitFor::Until(at)) => *at += later,
            TaskState::Waiting(WaitFor::Signal { give_up_at, .. }) => {
                *give_up_at = give_up_at.map(|at| at + later);
            }
            TaskState::Finished if finished.iter().any(|result| result.node == task.node) => {
                task.held = false;
            }
            TaskState::Finished => task.state = TaskState::Ready,
            TaskState::Ready | TaskState::Answered(_) | TaskState::Woken(_) => {}
        }
    }
    rename_questions(&mut draft.state);
    draft.state.status = match source.status {
        super::Status::Done => super::Status::Done,
        over if over.is_over() && draft.state.tasks.is_empty() => over,
        _ => {
            draft.state.error = None;
            draft.state.status_of_tasks(now)
        }
    };
    let data = json!({ "thread": from.thread, "seq": from.seq, "run": source.run.id });
    draft.event(kind::RUN_FORKED, data);
}

/// A context in which nobody said beforehand that nothing need be asked: that was said of another run.
fn asking(context: &BTreeMap<String, Value>) -> BTreeMap<String, Value> {
    let mut context = context.clone();
    if let Some(approval) = context.get_mut(APPROVAL).filter(|approval| **approval == "never") {
        *approval = json!("ask");
    }
    context
}

/// Questions of another run are other questions: an answer to the old one must not answer the new one.
fn rename_questions(state: &mut Checkpoint) {
    for index in 0..state.tasks.len() {
        let mut asked = state.tasks[index].clone();
        asked.asked = asked.asked.saturating_sub(1);
        let id = interrupt_id(state, &asked);
        if let TaskState::Asked(interrupt) = &mut state.tasks[index].state {
            interrupt.id = id;
        }
    }
}

fn differing<T: Clone + PartialEq>(
    left: &BTreeMap<String, T>,
    right: &BTreeMap<String, T>,
) -> BTreeMap<String, Sides<T>> {
    let names: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
    let sides =
        |name: &String| Sides { left: left.get(name).cloned(), right: right.get(name).cloned() };
    let differ = names.into_iter().filter(|name| left.get(*name) != right.get(*name));
    differ.map(|name| (name.clone(), sides(name))).collect()
}
