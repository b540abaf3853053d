//! One task of a superstep: attempts, timeouts, retries, and what it came to.

use std::collections::BTreeMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};

use futures::FutureExt;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::effects::Ledger;
use super::program::{Program, Step};
use super::{
    Checkpoint, Effects, Epoch, Error, ErrorClass, NewEvent, NodeError, Outcome, Question, Task,
    TaskContext, TaskResult, TaskState, WaitFor, effects, kind, limits, retry, route,
};
use crate::base::{Coded, EffectKey, Millis, Problem, SeededRng, stable_hash};
use crate::graph;

/// What running a task came to.
#[derive(Debug)]
pub(super) enum End {
    /// Its writes, or its failure taken over by an `on_error` route.
    Finished(TaskResult),
    /// It asks a person; with a key: whether that effect happened.
    Asks(Question, Option<EffectKey>),
    /// It waits.
    Waits(WaitFor),
    /// It failed, and no route takes the failure over.
    Failed(NodeError),
    /// It was stopped before it was done: it stays planned.
    Stopped,
}

/// All that running one task takes.
pub(super) struct Job {
    pub(super) program: Arc<Program>,
    pub(super) state: Arc<Checkpoint>,
    pub(super) task: Task,
    pub(super) store: Arc<dyn super::CheckpointStore>,
    pub(super) clock: Arc<dyn crate::base::Clock>,
    pub(super) epoch: Epoch,
    pub(super) seed: u64,
    pub(super) emitted: mpsc::UnboundedSender<NewEvent>,
    pub(super) cancel: CancellationToken,
}

impl Job {
    /// Runs the task to its end.
    pub(super) async fn run(self) -> End {
        let program = self.program.clone();
        let Some((_, node, step)) = program.step(&self.task.node) else {
            return End::Failed(fatal(&Error::Route {
                node: self.task.node.clone(),
                reason: "the graph does not have it any more".to_owned(),
            }));
        };
        let path = format!("{}/{}", self.state.superstep, node.name);
        let ledger = Arc::new(Ledger {
            store: self.store.clone(),
            thread: self.state.thread.clone(),
            epoch: self.epoch,
            run: self.state.run.id.clone(),
            task: path.clone(),
            doubt: Mutex::new(None),
        });
        let mut cx = self.context(node, path, ledger.clone());
        let view = self.view(node);
        // One stream per task: neither the order of finishing nor a restart changes the pauses.
        let mut rng: Option<SeededRng> = None;
        loop {
            let error = match self.attempt(node, step, &view, &cx).await {
                Ok(outcome) => match self.settle(node, outcome) {
                    Ok(end) => return end,
                    Err(error) => error,
                },
                Err(error) => error,
            };
            if error.class == ErrorClass::InDoubt
                && let Some(key) = ledger.take_doubt()
            {
                return End::Asks(effects::doubt_question(&node.name), Some(key));
            }
            if self.cancel.is_cancelled() || error.problem.code == effects::FENCED {
                return End::Stopped;
            }
            let rng = rng.get_or_insert_with(|| {
                SeededRng::stream(self.seed, &format!("{}/{}", cx.run, cx.task))
            });
            let Some(pause_ms) = retry::pause_ms(&node.retry, cx.attempt, &error, rng) else {
                return self.give_up(node, step, error);
            };
            let problem = &error.problem;
            self.journal(kind::RETRY, json!({
                "node": node.name, "attempt": cx.attempt, "pause_ms": pause_ms, "problem": problem,
            }));
            tokio::select! {
                biased;
                () = self.cancel.cancelled() => return End::Stopped,
                () = self.clock.sleep_ms(pause_ms) => {}
            }
            cx.attempt += 1;
        }
    }

    /// One attempt under the node's timeout.
    async fn attempt(
        &self,
        node: &graph::Node,
        step: &Step,
        view: &super::StateView,
        cx: &TaskContext,
    ) -> Result<Outcome, NodeError> {
        let work = AssertUnwindSafe(step.worker.run(view, cx)).catch_unwind();
        let started = self.clock.now();
        let done = if self.clock.is_simulated() {
            // Its sleeping is what moves this clock: read the time off afterwards.
            let done = work.await;
            (self.clock.now().since(started) <= node.timeout_ms).then_some(done)
        } else {
            within(work, self.clock.as_ref(), node.timeout_ms).await
        };
        match done {
            Some(Ok(outcome)) => outcome,
            Some(Err(panic)) => Err(panicked(node, panic.as_ref())),
            None => Err(timed_out(node)),
        }
    }

    /// Checks what the node wants written. Errors: a misfit write is the node's failure.
    fn settle(&self, node: &graph::Node, outcome: Outcome) -> Result<End, NodeError> {
        match outcome {
            Outcome::Update { writes, grant, usage } => {
                self.program.check_writes(&node.name, &writes).map_err(|error| invalid(&error))?;
                let node = node.name.clone();
                Ok(End::Finished(TaskResult { node, writes, grant, usage, failed: None }))
            }
            Outcome::Ask(question) => Ok(End::Asks(question, None)),
            Outcome::Wait(wait) => Ok(End::Waits(wait)),
        }
    }

    /// The failure, taken over by an `on_error` route if one fits.
    fn give_up(&self, node: &graph::Node, step: &Step, error: NodeError) -> End {
        give_up(&self.program, node, step, &self.state, error)
    }

    fn view(&self, node: &graph::Node) -> super::StateView {
        let state = &self.state;
        let mut channels = BTreeMap::new();
        for name in &node.reads {
            if let Some(value) = state.channels.get(name).and_then(|slot| slot.value.as_deref()) {
                channels.insert(name.clone(), value.clone());
            }
        }
        let (answer, woken) = match &self.task.state {
            TaskState::Answered(answer) => (Some(answer.clone()), None),
            TaskState::Woken(value) => (None, Some(value.clone())),
            _ => (None, None),
        };
        super::StateView {
            channels,
            context: state.run.context.clone(),
            visits: state.progress.visits.clone(),
            grants: state.grants.clone(),
            answer,
            woken,
        }
    }

    fn context(&self, node: &graph::Node, path: String, ledger: Arc<Ledger>) -> TaskContext {
        let (name, run) = (node.name.clone(), self.state.run.id.clone());
        let (clock, emitted) = (self.clock.clone(), self.emitted.clone());
        let emit = move |data: Value| {
            let data = json!({ "node": name, "data": data });
            // The receiver lives as long as the superstep; a task cannot outlive it.
            let _ = emitted.send(NewEvent {
                at: clock.now(),
                run: run.clone(),
                kind: kind::CUSTOM.to_owned(),
                data,
            });
        };
        TaskContext {
            thread: self.state.thread.clone(),
            run: self.state.run.id.clone(),
            node: node.name.clone(),
            task: path,
            attempt: 0,
            clock: self.clock.clone(),
            effects: ledger as Arc<dyn Effects>,
            emit: Arc::new(emit),
            cancel: self.cancel.clone(),
            usage_left: limits::usage_left(&self.program.graph.limits, &self.state.progress),
        }
    }

    fn journal(&self, kind: &str, data: Value) {
        let run = self.state.run.id.clone();
        let event = NewEvent { at: self.clock.now(), run, kind: kind.to_owned(), data };
        // See `context`: the receiver outlives the task.
        let _ = self.emitted.send(event);
    }
}

/// The end of a task that failed for good.
pub(super) fn give_up(
    program: &Program,
    node: &graph::Node,
    step: &Step,
    state: &Checkpoint,
    error: NodeError,
) -> End {
    match route::takes_over(program, node, step, state, &error) {
        Ok(Some(_)) => End::Finished(TaskResult {
            node: node.name.clone(),
            writes: Vec::new(),
            grant: None,
            usage: super::Usage::default(),
            failed: Some(error),
        }),
        Ok(None) => End::Failed(error),
        Err(broken) => End::Failed(fatal(&broken)),
    }
}

/// Id of a task's `n`th question: the same after any restart.
pub(super) fn interrupt_id(state: &Checkpoint, task: &Task) -> String {
    let (superstep, nth) = (state.superstep.to_string(), task.asked.to_string());
    stable_hash(&["interrupt", state.run.id.as_str(), &superstep, &task.node, &nth])
}

/// The question of `task`, as an interrupt.
pub(super) fn interrupt(
    state: &Checkpoint,
    task: &Task,
    question: Question,
    doubt: Option<EffectKey>,
    now: Millis,
) -> super::Interrupt {
    super::Interrupt { id: interrupt_id(state, task), question, asked_at: now, doubt }
}

/// `work`, unless `clock` reaches the limit first. Ready work never touches the clock.
async fn within<T>(
    work: impl Future<Output = T>,
    clock: &dyn crate::base::Clock,
    limit_ms: u64,
) -> Option<T> {
    let mut work = std::pin::pin!(work);
    if let std::task::Poll::Ready(done) = futures::poll!(work.as_mut()) {
        return Some(done);
    }
    tokio::select! {
        biased;
        done = work => Some(done),
        () = clock.sleep_ms(limit_ms) => None,
    }
}

fn timed_out(node: &graph::Node) -> NodeError {
    let problem = Problem {
        code: "runtime.node_timeout".to_owned(),
        message: format!("node `{}` took longer than {} ms", node.name, node.timeout_ms),
        hint: "raise the node's `timeout`, or give it less to do".to_owned(),
    };
    NodeError { class: ErrorClass::Timeout, problem, retry_after_ms: None }
}

fn panicked(node: &graph::Node, panic: &(dyn std::any::Any + Send)) -> NodeError {
    let said = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    let problem = Problem {
        code: "runtime.node_panicked".to_owned(),
        message: format!("node `{}` panicked: {said}", node.name),
        hint: "this is a defect of the node: report it".to_owned(),
    };
    NodeError { class: ErrorClass::Fatal, problem, retry_after_ms: None }
}

fn invalid(error: &Error) -> NodeError {
    NodeError { class: ErrorClass::Invalid, problem: error.problem(), retry_after_ms: None }
}

fn fatal(error: &Error) -> NodeError {
    NodeError { class: ErrorClass::Fatal, problem: error.problem(), retry_after_ms: None }
}
