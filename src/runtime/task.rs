//! One task of a superstep: attempts, timeouts, retries, and what it came to.

use std::collections::BTreeMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, OnceLock};

use futures::FutureExt;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::effects::Ledger;
use super::program::{Program, Step};
use super::retry::Again;
use super::{
    Begun, Checkpoint, Effects, Epoch, Error, ErrorClass, NewEvent, NodeError, Outcome, Question,
    Task, TaskContext, TaskResult, TaskState, Usage, WaitFor, effects, kind, limits, retry, route,
};
use crate::base::{Coded, EffectKey, Millis, Problem, SeededRng, stable_hash};
use crate::graph::{self, Kind};

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
    /// The store could not keep its ledger: it stays planned, and the thread is tried again.
    Broken(Problem),
}

/// All that running one task takes.
pub(super) struct Job<'j> {
    pub(super) program: &'j Arc<Program>,
    pub(super) state: &'j Arc<Checkpoint>,
    pub(super) task: &'j Task,
    pub(super) store: &'j Arc<dyn super::CheckpointStore>,
    pub(super) clock: &'j Arc<dyn crate::base::Clock>,
    pub(super) epoch: Epoch,
    pub(super) seed: u64,
    pub(super) emitted: &'j mpsc::UnboundedSender<NewEvent>,
    pub(super) cancel: &'j CancellationToken,
    pub(super) visits: &'j Visits,
}

/// How often the nodes of each graph were started, counted out once for all tasks of a superstep.
pub(super) struct Visits(Vec<OnceLock<Arc<BTreeMap<String, u64>>>>);

impl Visits {
    /// Of a program's graphs; nothing is counted yet.
    pub(super) fn of(program: &Program) -> Self {
        Self(program.frames.iter().map(|_| OnceLock::new()).collect())
    }

    /// The nodes of graph number `frame`, by the names that graph knows them by.
    fn in_frame(
        &self,
        program: &Program,
        frame: usize,
        state: &Checkpoint,
    ) -> Arc<BTreeMap<String, u64>> {
        let count = || {
            let prefix = program.frames[frame].prefix.as_str();
            let visits = state.progress.visits.iter();
            let own = visits.filter_map(|(path, count)| Some((path.strip_prefix(prefix)?, *count)));
            let own = own.filter(|(name, _)| !name.contains('/'));
            Arc::new(own.map(|(name, count)| (name.to_owned(), count)).collect())
        };
        self.0[frame].get_or_init(count).clone()
    }
}

impl Job<'_> {
    /// Runs the task to its end.
    pub(super) async fn run(self) -> End {
        let program = self.program;
        let Some((ix, node, step)) = program.step(&self.task.node) else {
            return End::Failed(fatal(&Error::Route {
                node: self.task.node.clone(),
                reason: "the graph does not have it any more".to_owned(),
            }));
        };
        let path = format!("{}/{}", self.task.superstep(self.state), node.name);
        let ledger = self.ledger(&path);
        let frame = program.places[ix].frame;
        let mut cx = self.context(ix, path, ledger.clone());
        let view = self.view(node, frame);
        let kept = match &node.cache {
            Some(cache) => match self.remembered(node, cache, &view).await {
                Ok(Remembered::Yes(result)) => return End::Finished(*result),
                Ok(Remembered::No(kept)) => Some(kept),
                Err(error) if error.problem.code == effects::FENCED => return End::Stopped,
                Err(error) => return self.give_up(ix, error),
            },
            None => None,
        };
        // One stream per task: neither the order of finishing nor a restart changes the pauses.
        let mut rng: Option<SeededRng> = None;
        loop {
            // Its own token: a timeout ends this attempt, not the run.
            cx.cancel = self.cancel.child_token();
            cx.spent = Arc::default();
            let mut error = match self.attempt(node, step, &view, &cx).await {
                Ok(outcome) => match self.settle(node, step, outcome) {
                    Ok(End::Finished(result)) => {
                        self.remember(kept.as_ref(), &result).await;
                        return End::Finished(result);
                    }
                    Ok(end) => return end,
                    Err(error) => error,
                },
                Err(error) => error,
            };
            if let Some(problem) = ledger.take_broken() {
                return End::Broken(problem);
            }
            if error.class == ErrorClass::InDoubt
                && let Some(key) = ledger.take_doubt()
            {
                return End::Asks(effects::doubt_question(&node.name), Some(key));
            }
            if self.cancel.is_cancelled() || error.problem.code == effects::FENCED {
                return End::Stopped;
            }
            // Answers of its model that a next attempt finds in the ledger count with that one.
            error.usage = cx.spent.read();
            let rng = rng.get_or_insert_with(|| {
                SeededRng::stream(self.seed, &format!("{}/{}", cx.run, cx.task))
            });
            let Some(pause_ms) = self.pause(ix, cx.attempt, &mut error, rng) else {
                return self.give_up(ix, error);
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

    fn ledger(&self, path: &str) -> Arc<Ledger> {
        Arc::new(Ledger {
            store: self.store.clone(),
            state: self.state.clone(),
            epoch: self.epoch,
            task: path.to_owned(),
            doubt: Mutex::new(None),
            broken: Mutex::new(None),
        })
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
            within(work, &**self.clock, node.timeout_ms, &cx.cancel).await
        };
        match done {
            Some(Ok(outcome)) => outcome,
            Some(Err(panic)) => Err(panicked(node, panic.as_ref())),
            None => Err(timed_out(node)),
        }
    }

    /// Checks what the node wants written. Errors: a misfit write is the node's failure.
    fn settle(&self, node: &graph::Node, step: &Step, outcome: Outcome) -> Result<End, NodeError> {
        match outcome {
            Outcome::Update { mut writes, grant, usage } => {
                if !step.writes_in.is_empty() {
                    for (channel, _) in &mut writes {
                        channel.insert_str(0, &step.writes_in);
                    }
                }
                self.program.check_writes(&node.name, &writes).map_err(|error| invalid(&error))?;
                let node = node.name.clone();
                Ok(End::Finished(TaskResult {
                    node,
                    writes,
                    grant,
                    usage,
                    failed: None,
                    goto: None,
                }))
            }
            Outcome::Ask(question) => Ok(End::Asks(question, None)),
            Outcome::Wait(wait) => Ok(End::Waits(wait)),
        }
    }

    /// The pause before the next attempt [ms]; `None`: there is none.
    fn pause(
        &self,
        ix: graph::NodeIx,
        attempt: u32,
        error: &mut NodeError,
        rng: &mut SeededRng,
    ) -> Option<u64> {
        let node = &self.program.graph.nodes[ix];
        if matches!(node.kind, Kind::Wait(_)) {
            // A wait that ended without its signal is not mended by looking at the clock again.
            return None;
        }
        let frame = self.program.places[ix].frame;
        let left_ms = limits::wall_left_ms(self.program, frame, self.state, self.clock.now());
        match retry::again(&node.retry, attempt, error, left_ms, rng) {
            Again::After(pause_ms) => Some(pause_ms),
            Again::Never => None,
            Again::TooLate(pause_ms) => {
                let why = "which is longer than the run may wait";
                let message = &mut error.problem.message;
                *message += &format!("; the next attempt would be in {pause_ms} ms, {why}");
                None
            }
        }
    }

    /// The failure, taken over by an `on_error` route if one fits.
    fn give_up(&self, node: graph::NodeIx, error: NodeError) -> End {
        give_up(self.program, node, self.state, error)
    }

    fn view(&self, node: &graph::Node, frame: usize) -> super::StateView {
        let state = &self.state;
        let prefix = self.program.frames[frame].prefix.as_str();
        let own = |path: &str| path.strip_prefix(prefix).map(str::to_owned);
        let mut channels = BTreeMap::new();
        for path in &node.reads {
            let value = state.channels.get(path).and_then(|slot| slot.value.as_deref());
            if let (Some(value), Some(name)) = (value, own(path)) {
                channels.insert(name, value.clone());
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
            visits: self.visits.in_frame(self.program, frame, state),
            grants: state.grants.clone(),
            answer,
            woken,
        }
    }

    /// What the node answered to the same key, if that is not too long ago.
    async fn remembered(
        &self,
        node: &graph::Node,
        cache: &graph::Cache,
        view: &super::StateView,
    ) -> Result<Remembered, NodeError> {
        let kept = Kept::new(self.state, node, cache, view)?;
        let begun =
            self.store.effect_begin(&self.state.thread, self.epoch, &kept.key, CACHED).await;
        let found = match begun {
            Ok(Begun::Done(found)) => found,
            // A store that fails is the commit's to report; an answer can be found again.
            Ok(Begun::Fresh | Begun::InDoubt) | Err(_) => return Ok(Remembered::No(kept)),
            Ok(Begun::Fenced) => return Err(effects::fenced(&self.state.thread)),
        };
        let fresh = found["until_ms"].as_u64().is_some_and(|until| self.clock.now().0 < until);
        match serde_json::from_value::<TaskResult>(found["result"].clone()) {
            Ok(result) if fresh => {
                self.journal(kind::REMEMBERED, json!({ "node": node.name }));
                let free = TaskResult { usage: Usage::default(), ..result };
                Ok(Remembered::Yes(Box::new(free)))
            }
            _ => Ok(Remembered::No(kept)),
        }
    }

    async fn remember(&self, kept: Option<&Kept>, result: &TaskResult) {
        let Some(kept) = kept else { return };
        let until = self.clock.now().plus(kept.ttl_ms);
        let value = json!({ "until_ms": until, "result": result });
        if let Err(problem) = self.store.effect_finish(&kept.key, &value, Some(until)).await {
            // What is not remembered is done again; a store that stays away is the commit's to report.
            tracing::debug!(%problem, "an answer was not remembered");
        }
    }

    fn context(&self, ix: graph::NodeIx, path: String, ledger: Arc<Ledger>) -> TaskContext {
        let (program, state) = (self.program.clone(), self.state.clone());
        let (clock, emitted) = (self.clock.clone(), self.emitted.clone());
        let emit = move |data: Value| {
            let data = json!({ "node": program.graph.nodes[ix].name, "data": data });
            // The receiver lives as long as the superstep; a task cannot outlive it.
            let _ = emitted.send(NewEvent {
                at: clock.now(),
                run: state.run.id.clone(),
                kind: kind::CUSTOM.into(),
                data: data.into(),
            });
        };
        TaskContext {
            thread: self.state.thread.clone(),
            run: self.state.run.id.clone(),
            node: self.program.graph.nodes[ix].name.clone(),
            task: path,
            attempt: 0,
            clock: self.clock.clone(),
            effects: ledger as Arc<dyn Effects>,
            emit: Arc::new(emit),
            cancel: self.cancel.clone(),
            budget: limits::budget(self.program, self.program.places[ix].frame, self.state),
            spent: Arc::default(),
        }
    }

    fn journal(&self, kind: &'static str, data: Value) {
        let run = self.state.run.id.clone();
        let event = NewEvent { at: self.clock.now(), run, kind: kind.into(), data: data.into() };
        // See `context`: the receiver outlives the task.
        let _ = self.emitted.send(event);
    }
}

/// Policy under which answers are remembered in the ledger.
const CACHED: &str = "idempotent";

/// Whether an answer is remembered, or where it will be.
enum Remembered {
    Yes(Box<TaskResult>),
    No(Kept),
}

/// Where an answer is kept.
struct Kept {
    key: EffectKey,
    ttl_ms: u64,
}

impl Kept {
    fn new(
        state: &Checkpoint,
        node: &graph::Node,
        cache: &graph::Cache,
        view: &super::StateView,
    ) -> Result<Self, NodeError> {
        let seen = match &cache.key {
            None => json!([view.channels, view.context]),
            Some(template) => {
                let mut scope = view.channels.clone();
                scope.insert("context".to_owned(), json!(view.context));
                scope.insert("visits".to_owned(), json!(view.visits));
                let key = graph::render_args(template, &scope);
                key.map_err(|why| super::fill::unfilled(&node.name, "key", &why))?
            }
        };
        // A node that does something else now has other answers.
        let does = serde_json::to_string(&node.kind).unwrap_or_default();
        let parts = ["cache", state.thread.as_str(), &node.name, &does, &seen.to_string()];
        Ok(Self { key: EffectKey(stable_hash(&parts)), ttl_ms: cache.ttl_ms })
    }
}

/// The end of a task that failed for good.
pub(super) fn give_up(
    program: &Program,
    node: graph::NodeIx,
    state: &Checkpoint,
    error: NodeError,
) -> End {
    let usage = error.usage;
    let name = &program.graph.nodes[node].name;
    let finished = |error: NodeError, writes| {
        let failed = Some(NodeError { usage: Usage::default(), ..error });
        End::Finished(TaskResult { failed, usage, ..TaskResult::of(name, writes) })
    };
    if error.class == ErrorClass::Limit {
        return finished(error, Vec::new());
    }
    let seen = route::run_error(name, &error);
    let taken = match route::takes_over(program, node, state, &seen) {
        Ok(Some(taken)) => taken,
        Ok(None) => return End::Failed(error),
        Err(broken) => return End::Failed(NodeError { usage, ..fatal(&broken) }),
    };
    let writes = route::error_writes(program, taken, state, &seen).and_then(|writes| {
        let owner = program.graph.nodes[taken.owner].name.as_str();
        program.check_values(owner, &writes).map_err(|error| invalid(&error))?;
        Ok(writes)
    });
    match writes {
        Ok(writes) => finished(error, writes),
        Err(broken) => End::Failed(NodeError { usage, ..broken }),
    }
}

/// Id of a task's `n`th question: the same after any restart.
pub(super) fn interrupt_id(state: &Checkpoint, task: &Task) -> String {
    let (superstep, nth) = (task.superstep(state).to_string(), task.asked.to_string());
    stable_hash(&["interrupt", state.run.effects_of().as_str(), &superstep, &task.node, &nth])
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

/// How long work may take to end by itself once its time is up, before it is dropped [ms].
const LATE_GRACE_MS: u64 = 1_000;

/// `work`, unless `clock` reaches the limit first: then its token is set, and a moment later it is dropped. Ready work never
/// touches the clock.
async fn within<T>(
    work: impl Future<Output = T>,
    clock: &dyn crate::base::Clock,
    limit_ms: u64,
    token: &CancellationToken,
) -> Option<T> {
    let mut work = std::pin::pin!(work);
    if let std::task::Poll::Ready(done) = futures::poll!(work.as_mut()) {
        return Some(done);
    }
    tokio::select! {
        biased;
        done = &mut work => return Some(done),
        () = clock.sleep_ms(limit_ms) => token.cancel(),
    }
    // Whatever it still says, it says too late.
    tokio::select! {
        biased;
        _ = work => {}
        () = clock.sleep_ms(LATE_GRACE_MS) => {}
    }
    None
}

fn timed_out(node: &graph::Node) -> NodeError {
    let problem = Problem {
        code: "runtime.node_timeout".to_owned(),
        message: format!("node `{}` took longer than {} ms", node.name, node.timeout_ms),
        hint: "raise the node's `timeout`, or give it less to do".to_owned(),
    };
    NodeError::new(ErrorClass::Timeout, problem)
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
    NodeError::new(ErrorClass::Fatal, problem)
}

fn invalid(error: &Error) -> NodeError {
    NodeError::new(ErrorClass::Invalid, error.problem())
}

fn fatal(error: &Error) -> NodeError {
    NodeError::new(ErrorClass::Fatal, error.problem())
}
