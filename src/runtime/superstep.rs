//! One superstep: its runnable tasks side by side on one snapshot, then fold, commit, route.

use std::pin::Pin;
use std::sync::Arc;

use futures::stream::FuturesUnordered;
use futures::{Stream, StreamExt};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::activation::Activation;
use super::draft::Draft;
use super::program::Program;
use super::task::{self, End, Job, Visits};
use super::{Checkpoint, Error, NewEvent, NodeError, Task, TaskState, WaitFor, fold, kind, route};
use crate::base::{Clock, Millis};

/// How long a cancelled task may take to end by itself [ms].
const CANCEL_GRACE_MS: u64 = 2_000;

/// How often a cancelled task is polled once more where time is simulated: there is no time to wait.
const CANCEL_GRACE_POLLS: usize = 8;

/// Returns when a cancelled task has had its time to end by itself.
pub(super) async fn grace(clock: &dyn Clock) {
    if clock.is_simulated() {
        for _ in 0..CANCEL_GRACE_POLLS {
            tokio::task::yield_now().await;
        }
    } else {
        clock.sleep_ms(CANCEL_GRACE_MS).await;
    }
}

impl Activation<'_> {
    /// Runs what is runnable of the open superstep and commits what came of it.
    ///
    /// Returns whether anything was committed: not when all tasks were stopped before they were done.
    pub(super) async fn superstep(
        &mut self,
        head: &Arc<Checkpoint>,
        program: &Arc<Program>,
        stop: &CancellationToken,
    ) -> Result<bool, Error> {
        let mut ends = self.run_tasks(head, program, stop).await?;
        // In the order of the plan, whoever ended first: one seed, one history.
        ends.sort_unstable_by_key(|(index, _)| *index);
        let mut draft = Draft::after(head, self.clock().now());
        let recovered = self.recover(&mut draft);
        let moved = self.settle(&mut draft, program, head, ends) || recovered;
        let leftover = self.take_emitted();
        if !moved {
            self.append(leftover).await?;
            return Ok(false);
        }
        draft.events.splice(0..0, leftover);
        self.commit(draft).await?;
        Ok(true)
    }

    /// Runs the runnable tasks to their ends, by index.
    async fn run_tasks(
        &mut self,
        head: &Arc<Checkpoint>,
        program: &Arc<Program>,
        stop: &CancellationToken,
    ) -> Result<Vec<(usize, End)>, Error> {
        let (cancel, token) = self.tokens();
        let (shared, epoch, emitted) = (self.shared(), self.epoch(), self.emit.clone());
        let now = shared.clock.now();
        let visits = Visits::of(program);
        // The only task's result is committed with the superstep: no need to write it twice.
        let keep_each = head.tasks.len() > 1;
        let job = |task| Job {
            program,
            state: head,
            task,
            store: &shared.store,
            clock: &shared.clock,
            epoch,
            seed: shared.seed,
            emitted: &emitted,
            cancel: &token,
            visits: &visits,
        };
        let runnable = |activation: &Self, task: &Task| {
            task.is_runnable(now) && !activation.has_result(&task.node)
        };
        if let [only] = head.tasks.as_slice() {
            if !runnable(self, only) {
                return Ok(Vec::new());
            }
            let running = futures::stream::once(worked(0, job(only), keep_each));
            self.gather(std::pin::pin!(running), cancel, &token, stop).await
        } else {
            let tasks = head.tasks.iter().enumerate().filter(|(_, task)| runnable(self, task));
            let mut running: FuturesUnordered<_> =
                tasks.map(|(index, task)| worked(index, job(task), keep_each)).collect();
            self.gather(Pin::new(&mut running), cancel, &token, stop).await
        }
    }

    /// Takes the ends of tasks, and writes down what they say meanwhile.
    async fn gather(
        &mut self,
        mut running: Pin<&mut impl Stream<Item = Result<(usize, End), Error>>>,
        cancel: CancellationToken,
        token: &CancellationToken,
        stop: &CancellationToken,
    ) -> Result<Vec<(usize, End)>, Error> {
        let mut ends = Vec::with_capacity(running.size_hint().0);
        let mut broken = None;
        let mut stopping = stop.is_cancelled();
        let clock = self.clock().clone();
        let mut grace = std::pin::pin!(async {
            cancel.cancelled().await;
            grace(clock.as_ref()).await;
        });
        loop {
            tokio::select! {
                biased;
                end = running.next() => match end {
                    Some(Ok(end)) => ends.push(end),
                    // What the others do is worth finishing: their results are kept one by one.
                    Some(Err(error @ Error::Store(_))) => broken = Some(error),
                    Some(Err(error)) => return Err(error),
                    None => return broken.map_or(Ok(ends), Err),
                },
                Some(event) = self.emitted.recv() => {
                    self.unsaid.push(event);
                    let events = self.take_emitted();
                    match self.append(events.clone()).await {
                        // Said with the next commit; no reason to cut the tasks off.
                        Err(Error::Store(_)) => self.unsaid = events,
                        said => said?,
                    }
                }
                () = &mut grace => return Ok(ends),
                () = stop.cancelled(), if !stopping => {
                    stopping = true;
                    token.cancel();
                }
            }
        }
    }

    /// Marks tasks whose results were kept before a crash. Returns whether there were any.
    pub(super) fn recover(&self, draft: &mut Draft) -> bool {
        let mut recovered = false;
        for task in &mut draft.state.tasks {
            if task.state != TaskState::Finished && self.has_result(&task.node) {
                task.state = TaskState::Finished;
                recovered = true;
            }
        }
        recovered
    }

    pub(super) fn has_result(&self, node: &str) -> bool {
        self.results.iter().any(|result| result.node == node)
    }

    /// Enters the ends into the draft; closes the superstep when all its tasks are finished.
    ///
    /// Returns whether anything changed.
    pub(super) fn settle(
        &mut self,
        draft: &mut Draft,
        program: &Arc<Program>,
        head: &Checkpoint,
        ends: Vec<(usize, End)>,
    ) -> bool {
        let mut moved = false;
        let mut failure: Option<(String, NodeError)> = None;
        for (index, end) in ends {
            moved |= !matches!(end, End::Stopped | End::Broken(_));
            if let Some(failed) = self.enter(draft, index, end) {
                failure.get_or_insert(failed);
            }
        }
        if program.is_eager() {
            self.conclude(draft, program, head, failure);
            return moved;
        }
        if let Some((node, error)) = failure {
            draft.fail(route::run_error(&node, &error));
        } else if draft.state.tasks.iter().all(|task| task.state == TaskState::Finished) {
            moved = true;
            fold::close(draft, program, head, std::mem::take(&mut self.results));
        } else {
            draft.state.status = draft.state.status_of_tasks(draft.state.at);
        }
        moved
    }

    /// Enters one end. Returns the failure that ends the run, if it is one.
    pub(super) fn enter(
        &mut self,
        draft: &mut Draft,
        index: usize,
        end: End,
    ) -> Option<(String, NodeError)> {
        let now = draft.state.at;
        if let End::Finished(result) = end {
            self.results.push(result);
            draft.state.tasks[index].state = TaskState::Finished;
            return None;
        }
        let node = draft.state.tasks[index].node.clone();
        match end {
            End::Asks(question, doubt) => {
                let task = &draft.state.tasks[index];
                let interrupt = task::interrupt(&draft.state, task, question, doubt, now);
                let data =
                    json!({ "node": node, "id": interrupt.id, "question": interrupt.question });
                draft.event(kind::INTERRUPT, data);
                let task = &mut draft.state.tasks[index];
                task.asked += 1;
                task.state = TaskState::Asked(Box::new(interrupt));
            }
            End::Waits(wait) => {
                draft.event(kind::WAITING, json!({ "node": node, "wait": wait }));
                let state = wait_or_wake(&mut draft.state, wait, now);
                draft.state.tasks[index].state = state;
            }
            End::Failed(error) => {
                draft.state.tasks[index].state = TaskState::Ready;
                draft.count_failed(&node, error.usage);
                return Some((node, error));
            }
            End::Finished(_) | End::Stopped | End::Broken(_) => {}
        }
        None
    }

    /// Applies what the clock alone decides: timers that rang, questions nobody answered. `None`: nothing was due.
    pub(super) fn due(
        &mut self,
        head: &Checkpoint,
        program: &Arc<Program>,
        now: Millis,
    ) -> Option<Draft> {
        let is_due = |task: &super::Task| {
            !matches!(task.state, TaskState::At(_)) && task.due().is_some_and(|at| at <= now)
        };
        if head.status.is_over() || !head.tasks.iter().any(is_due) {
            return None;
        }
        let mut draft = Draft::after(head, now);
        let mut ends = Vec::new();
        for index in 0..head.tasks.len() {
            if is_due(&head.tasks[index])
                && let Some(end) = ring(&mut draft, program, index)
            {
                ends.push((index, end));
            }
        }
        // An expiry must not beat an answer that is already in the inbox.
        draft.inbox_read_to = Some(self.read_to());
        self.settle(&mut draft, program, head, ends);
        Some(draft)
    }
}

/// The timer of one task rings. Returns the task's end, when the timer ends it.
fn ring(draft: &mut Draft, program: &Program, index: usize) -> Option<End> {
    let task = draft.state.tasks[index].clone();
    let woken = match &task.state {
        TaskState::Asked(interrupt) => match interrupt.question.on_expiry.clone() {
            Some(value) => {
                let by = super::EXPIRY.to_owned();
                let id = &interrupt.id;
                let data = json!({ "node": task.node, "id": id, "answer": value, "by": by });
                draft.event(kind::RESUMED, data);
                draft.state.tasks[index].state = TaskState::Answered(super::Answer { value, by });
                return None;
            }
            None => {
                let (node, ..) = program.step(&task.node)?;
                let error = super::interrupt::expired(&task.node);
                return Some(task::give_up(program, node, &draft.state, error));
            }
        },
        TaskState::Waiting(WaitFor::Until(at)) => json!({ "timer": at }),
        TaskState::Waiting(WaitFor::Signal { name, .. }) => {
            json!({ "signal": name, "timed_out": true })
        }
        _ => return None,
    };
    draft.event(kind::WOKEN, json!({ "node": task.node, "woken": woken }));
    draft.state.tasks[index].state = TaskState::Woken(woken);
    None
}

/// The state of a task that wants to wait: woken at once when the time or the signal has come already.
fn wait_or_wake(state: &mut Checkpoint, wait: WaitFor, now: Millis) -> TaskState {
    match &wait {
        WaitFor::Until(at) if Millis(*at) <= now => TaskState::Woken(json!({ "timer": at })),
        WaitFor::Signal { name, .. } => {
            match state.signals.iter().position(|(held, _)| held == name) {
                Some(place) => {
                    let (name, payload) = state.signals.remove(place);
                    TaskState::Woken(signalled(&name, payload))
                }
                None => TaskState::Waiting(wait),
            }
        }
        WaitFor::Until(_) => TaskState::Waiting(wait),
    }
}

/// What a task that waited for a signal sees.
pub(super) fn signalled(name: &str, payload: Value) -> Value {
    json!({ "signal": name, "payload": payload })
}

/// Runs a task to its end, and keeps its result at once where others are still at work.
async fn worked(index: usize, job: Job<'_>, keep_each: bool) -> Result<(usize, End), Error> {
    let (store, epoch, thread) = (job.store, job.epoch, &job.state.thread);
    match job.run().await {
        End::Broken(problem) => Err(Error::Store(problem)),
        End::Finished(result)
            if keep_each && !store.put_task_writes(thread, epoch, &result, Vec::new()).await? =>
        {
            Err(Error::Fenced(thread.clone()))
        }
        end => Ok((index, end)),
    }
}

impl Activation<'_> {
    /// Takes what tasks have said and nobody has written down yet.
    pub(super) fn take_emitted(&mut self) -> Vec<NewEvent> {
        let mut events = std::mem::take(&mut self.unsaid);
        events.extend(std::iter::from_fn(|| self.emitted.try_recv().ok()));
        events
    }
}
