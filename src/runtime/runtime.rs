//! The door of the room: start, resume, signal, cancel, look.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::activation::Activation;
use super::follow::{Bell, Follow};
use super::program::Program;
use super::state::{ThreadState, ThreadStatus, ThreadSummary};
pub(super) use super::turn::Turn;
use super::turn::Turns;
use super::{
    Activate, Checkpoint, CheckpointStore, Engine, Error, Event, Letter, Next, NodeFactory, Pauses,
    PostOutcome, Status, ThreadRow, apply, interrupt,
};
use crate::base::{Clock, Coded, RunId, SeededRng, ThreadId};
use crate::graph::Graph;

/// Pause before a thread is tried again after the store failed [ms].
const RETRY_AFTER_MS: u64 = 1_000;

/// What a runtime is made of.
pub struct RuntimeParts {
    /// Keeps threads.
    pub store: Arc<dyn CheckpointStore>,
    /// Builds workers.
    pub nodes: Arc<dyn NodeFactory>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Seeds ids and jitter.
    pub rng_seed: u64,
    /// Wakes threads; without one, whoever starts a run activates it.
    pub engine: Option<Arc<dyn Engine>>,
}

/// Runs graphs on threads, durably.
#[derive(Clone)]
pub struct Runtime {
    shared: Arc<Shared>,
}

/// What to do with a new run on a thread that has one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Multitask {
    /// It waits until the thread is free, first come, first served.
    #[default]
    Enqueue,
    /// It is refused: [`Error::Busy`].
    Reject,
    /// The run before is cancelled; its checkpoints stay.
    Interrupt,
    /// The run before is cancelled, and what it wrote is taken back.
    Rollback,
}

/// A run to start.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Start {
    /// Its input, an object.
    pub input: Value,
    /// Written to channels that are no input, through their reducers.
    pub writes: BTreeMap<String, Value>,
    /// Its read-only values, an object.
    pub context: Value,
    /// What to do with a run that goes on.
    pub multitask: Multitask,
    /// Where it stops for somebody to look.
    pub pauses: Pauses,
    /// Begin on the values of this checkpoint instead of the newest; 0: on none.
    pub from: Option<u64>,
    /// Its id, from [`Runtime::fresh_run`]; `None`: it gets one.
    pub run: Option<RunId>,
    /// Most supersteps it may take, where the graph would let it take more.
    pub supersteps_max: Option<u64>,
}

/// What every part of the room shares.
pub(super) struct Shared {
    pub(super) store: Arc<dyn CheckpointStore>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) seed: u64,
    pub(super) owner: String,
    nodes: Arc<dyn NodeFactory>,
    engine: Option<Arc<dyn Engine>>,
    rng: Mutex<SeededRng>,
    programs: Mutex<HashMap<String, Arc<Program>>>,
    turns: Turns,
    bell: Bell,
}

impl Runtime {
    /// A runtime of `parts`.
    pub fn new(parts: RuntimeParts) -> Self {
        let RuntimeParts { store, nodes, clock, rng_seed, engine } = parts;
        let shared = Shared {
            store,
            clock,
            seed: rng_seed,
            owner: format!("pid {}", std::process::id()),
            nodes,
            engine,
            rng: Mutex::new(SeededRng::stream(rng_seed, "runtime ids")),
            programs: Mutex::default(),
            turns: Turns::default(),
            bell: Bell::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Starts a run, or queues it behind the one that goes on. The graph is kept by its hash: the run is pinned to it.
    ///
    /// Errors: input or context that does not fit, values of earlier runs that do not fit, a store that fails.
    pub async fn start(
        &self,
        thread: &ThreadId,
        graph: Arc<Graph>,
        input: Value,
        context: Value,
    ) -> Result<RunId, Error> {
        self.start_run(thread, graph, Start { input, context, ..Start::default() }).await
    }

    /// Like [`Runtime::start`], with a say in all of it.
    ///
    /// Errors: also [`Error::Busy`] where a run goes on and `multitask` is [`Multitask::Reject`].
    pub async fn start_run(
        &self,
        thread: &ThreadId,
        graph: Arc<Graph>,
        mut start: Start,
    ) -> Result<RunId, Error> {
        let shared = &self.shared;
        let program = shared.keep(graph.clone()).await?;
        let [input, context] = fitting(&program, &mut start)?;
        if let Some(seq) = start.from.filter(|seq| *seq > 0)
            && shared.store.state_at(thread, seq).await?.is_none()
        {
            return Err(Error::UnknownCheckpoint { thread: thread.clone(), seq });
        }
        let mut displaced = false;
        let moves = |head: &Checkpoint| {
            let graph = &program.graph;
            head.status.is_over()
                && (&head.run.graph, !graph.migrations.is_empty()) == (&graph.name, true)
                && head.run.graph_hash != graph.hash
        };
        if shared.store.head(thread).await?.as_deref().is_some_and(moves) {
            // A renamed channel keeps its value: the thread moves first.
            self.migrate(thread, graph, "a newer version").await?;
        }
        if let Some(head) = shared.store.head(thread).await? {
            let given = |name: &String| input.contains_key(name);
            if let Some(old) = shared.version_before(Some(&head), &program.graph).await {
                let written =
                    |name: &str| input.contains_key(name) || start.writes.contains_key(name);
                super::migrate::check_claimed(&head, &old, &program, written)?;
            }
            apply::check_inherited(&head, &program, given)?;
            let busy = !head.status.is_over();
            match start.multitask {
                Multitask::Reject if busy => return Err(Error::Busy(thread.clone())),
                Multitask::Interrupt | Multitask::Rollback if busy => {
                    self.cancel(thread, "a newer run").await?;
                    displaced = true;
                }
                _ => {}
            }
        }
        let run = start.run.unwrap_or_else(|| shared.fresh_run_id());
        let letter = Letter::Start {
            run: run.clone(),
            graph: program.graph.name.clone(),
            graph_hash: program.graph.hash.clone(),
            input,
            context,
            rollback: displaced && start.multitask == Multitask::Rollback,
            writes: start.writes,
            from: start.from,
            pauses: start.pauses,
            supersteps_max: start.supersteps_max,
        };
        shared.post(thread, &letter, None).await?;
        Ok(run)
    }

    /// Whether a run of `graph` could begin with this on a thread that holds nothing; nothing is started.
    ///
    /// Errors: input, context or nodes that do not fit; a store that fails.
    pub async fn check_start(&self, graph: Arc<Graph>, mut start: Start) -> Result<(), Error> {
        let program = self.shared.keep(graph).await?;
        fitting(&program, &mut start).map(drop)
    }

    /// An id for a run that is written down before it is started.
    pub fn fresh_run(&self) -> RunId {
        self.shared.fresh_run_id()
    }

    /// Answers the question `interrupt`, or the only one that is open.
    ///
    /// Errors: nothing asked, several asked and none named, answered before, misfit answer. Nothing is changed then.
    pub async fn resume(
        &self,
        thread: &ThreadId,
        interrupt: Option<&str>,
        answer: Value,
        by: &str,
    ) -> Result<(), Error> {
        let head = self.shared.known(thread).await?;
        let id = interrupt::find(&head, interrupt, &answer)?.id.clone();
        let dedupe = format!("resume/{id}");
        let letter = Letter::Resume { interrupt: id.clone(), answer, by: by.to_owned() };
        match self.shared.post(thread, &letter, Some(&dedupe)).await? {
            PostOutcome::Accepted(_) => Ok(()),
            PostOutcome::Duplicate => Err(Error::InterruptAnswered(id)),
        }
    }

    /// Hands `payload` to the node that waits for signal `name`, now or next in this run.
    ///
    /// Errors: no such thread, no run, a payload that does not fit the channel of the node that waits for it now.
    pub async fn signal(&self, thread: &ThreadId, name: &str, payload: Value) -> Result<(), Error> {
        let head = self.shared.known(thread).await?;
        if head.status.is_over() {
            return Err(Error::NoRun { thread: thread.clone(), action: "signal" });
        }
        if let Some(node) = head.waits_for(name) {
            let program = self.shared.program(&head.run.graph_hash).await?;
            program.check_payload(node, name, &payload)?;
        }
        let letter = Letter::Signal { name: name.to_owned(), payload };
        self.shared.post(thread, &letter, None).await.map(|_| ())
    }

    /// Checks that the graph of a thread's run names signal `name` under a `wait`. Workers of one's own may wait for others.
    ///
    /// Errors: no such thread, [`Error::UnknownSignal`].
    pub async fn check_signal(&self, thread: &ThreadId, name: &str) -> Result<(), Error> {
        let head = self.shared.known(thread).await?;
        self.shared.program(&head.run.graph_hash).await?.check_signal(name)
    }

    /// Cancels the run that goes on: its tasks get a token, and are dropped at a bounded deadline.
    ///
    /// Errors: no such thread, no run.
    pub async fn cancel(&self, thread: &ThreadId, by: &str) -> Result<(), Error> {
        let head = self.shared.known(thread).await?;
        if head.status.is_over() {
            return Err(Error::NoRun { thread: thread.clone(), action: "cancel" });
        }
        let run = head.run.id.clone();
        self.cancel_letter(thread, run, by).await
    }

    /// Cancels one run of a thread: the one that goes on, or one that is queued behind it.
    ///
    /// Errors: no such thread, or that run neither goes on nor is queued.
    pub async fn cancel_run(&self, thread: &ThreadId, run: &RunId, by: &str) -> Result<(), Error> {
        let inbox = self.shared.store.inbox(thread).await?;
        let is_queued = inbox.iter().any(
            |posted| matches!(&posted.letter, Letter::Start { run: queued, .. } if queued == run),
        );
        let head = self.shared.store.head(thread).await?;
        let goes_on = head.is_some_and(|head| head.run.id == *run && !head.status.is_over());
        if goes_on || is_queued {
            return self.cancel_letter(thread, run.clone(), by).await;
        }
        Err(Error::NoRun { thread: thread.clone(), action: "cancel" })
    }

    async fn cancel_letter(&self, thread: &ThreadId, run: RunId, by: &str) -> Result<(), Error> {
        let letter = Letter::Cancel { run: run.clone(), by: by.to_owned() };
        self.shared.post(thread, &letter, None).await?;
        if let Some(turn) = self.shared.turns.current(thread) {
            turn.cancel(&run);
        }
        Ok(())
    }

    /// Lets a run go on that failed or is held.
    ///
    /// Errors: no such thread, nothing failed and nothing held.
    pub async fn go_on(&self, thread: &ThreadId, by: &str) -> Result<(), Error> {
        let head = self.shared.known(thread).await?;
        let failed = head.status == Status::Error && !head.tasks.is_empty();
        if !failed && !head.is_held() {
            return Err(Error::NoRun { thread: thread.clone(), action: "let go on" });
        }
        let letter = Letter::Retry { by: by.to_owned() };
        self.shared.post(thread, &letter, None).await.map(|_| ())
    }

    /// Applies what lies in a thread's inbox, and starts no work.
    ///
    /// Errors: a store that fails, a thread that cannot be loaded.
    pub async fn settle(&self, thread: &ThreadId) -> Result<(), Error> {
        let stop = CancellationToken::new();
        stop.cancel();
        self.settled(self.activate(thread, &stop).await)
    }

    /// The same, but not behind whoever works on the thread: the owner reads its letters between two supersteps.
    ///
    /// Errors: a store that fails, a thread that cannot be loaded.
    pub async fn settle_if_free(&self, thread: &ThreadId) -> Result<(), Error> {
        let stop = CancellationToken::new();
        stop.cancel();
        match self.activate_if_free(thread, &stop).await {
            Some(next) => self.settled(next),
            None => Ok(()),
        }
    }

    fn settled(&self, next: Next) -> Result<(), Error> {
        match next {
            Next::Dead(problem) | Next::RetryAfter(_, problem) => Err(Error::Store(problem)),
            Next::Idle | Next::Again | Next::At(_) | Next::Held => Ok(()),
        }
    }

    /// Forgets all checkpoints of a thread but the newest `keep`. Returns how many went.
    ///
    /// Errors: no such thread.
    pub async fn prune(&self, thread: &ThreadId, keep: usize) -> Result<u64, Error> {
        self.shared.known(thread).await?;
        Ok(self.shared.store.prune(thread, keep).await?)
    }

    /// Forgets a thread and all that belongs to it. A run that goes on is cut off.
    ///
    /// Errors: a store that fails.
    pub async fn delete(&self, thread: &ThreadId) -> Result<(), Error> {
        if let Some(turn) = self.shared.turns.current(thread) {
            turn.cut_off();
        }
        Ok(self.shared.store.delete(thread).await?)
    }

    /// Runs the tasks on which the last run failed again; branches that had finished are not repeated.
    ///
    /// Errors: no such thread, no failed run.
    pub async fn retry(&self, thread: &ThreadId, by: &str) -> Result<(), Error> {
        let head = self.shared.known(thread).await?;
        if head.status != Status::Error || head.tasks.is_empty() {
            return Err(Error::NoRun { thread: thread.clone(), action: "retry" });
        }
        let letter = Letter::Retry { by: by.to_owned() };
        self.shared.post(thread, &letter, None).await.map(|_| ())
    }

    /// The thread as it stands; `None`: it never ran.
    pub async fn state(&self, thread: &ThreadId) -> Result<Option<ThreadState>, Error> {
        let head = self.shared.store.head(thread).await?;
        Ok(head.as_deref().map(ThreadState::from))
    }

    /// The thread as it stood at checkpoint `seq`.
    pub async fn state_at(
        &self,
        thread: &ThreadId,
        seq: u64,
    ) -> Result<Option<ThreadState>, Error> {
        let state = self.shared.store.state_at(thread, seq).await?;
        Ok(state.as_deref().map(ThreadState::from))
    }

    /// Checkpoints before `before` (`None`: all), newest first.
    pub async fn history(
        &self,
        thread: &ThreadId,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<ThreadState>, Error> {
        let history = self.shared.store.history(thread, before, limit).await?;
        Ok(history.iter().map(|state| ThreadState::from(&**state)).collect())
    }

    /// Journal entries after `after_seq`, oldest first.
    pub async fn events(
        &self,
        thread: &ThreadId,
        after_seq: u64,
        limit: usize,
    ) -> Result<Vec<Event>, Error> {
        Ok(self.shared.store.events(thread, after_seq, limit).await?)
    }

    /// The journal from `after_seq` on, live: first what is there, then what comes.
    pub fn follow(&self, thread: &ThreadId, after_seq: u64) -> Follow {
        Follow::new(self.shared.store.clone(), &self.shared.bell, thread, after_seq)
    }

    /// Threads, the one changed last first.
    pub async fn threads(&self, limit: usize) -> Result<Vec<ThreadSummary>, Error> {
        Ok(self.shared.store.threads(limit).await?.into_iter().map(summary).collect())
    }

    /// What every part of the room shares.
    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// The store.
    pub fn store(&self) -> &Arc<dyn CheckpointStore> {
        &self.shared.store
    }
}

#[async_trait]
impl Activate for Runtime {
    async fn activate(&self, thread: &ThreadId, stop: &CancellationToken) -> Next {
        let turn = self.shared.turns.of(thread);
        let next = {
            let _seat = turn.seat.lock().await;
            self.activate_seated(&turn, thread, stop).await
        };
        self.shared.turns.leave(thread, turn);
        next
    }
}

impl Runtime {
    /// Like [`Activate::activate`]; `None`: somebody is at it.
    pub(super) async fn activate_if_free(
        &self,
        thread: &ThreadId,
        stop: &CancellationToken,
    ) -> Option<Next> {
        let turn = self.shared.turns.of(thread);
        let next = match turn.seat.try_lock() {
            Ok(_seat) => Some(self.activate_seated(&turn, thread, stop).await),
            Err(_) => None,
        };
        self.shared.turns.leave(thread, turn);
        next
    }

    async fn activate_seated(
        &self,
        turn: &Turn,
        thread: &ThreadId,
        stop: &CancellationToken,
    ) -> Next {
        let next = match Activation::open(&self.shared, turn, thread).await {
            Ok(mut activation) => activation.run(stop).await,
            Err(error) => Err(error),
        };
        next.unwrap_or_else(|error| match &error {
            Error::Store(_) | Error::Fenced(_) => Next::RetryAfter(RETRY_AFTER_MS, error.problem()),
            _ => Next::Dead(error.problem()),
        })
    }
}

impl Shared {
    /// The program of a stored graph.
    pub(super) async fn program(&self, hash: &str) -> Result<Arc<Program>, Error> {
        if let Some(program) = self.programs().get(hash).cloned() {
            return Ok(program);
        }
        let text = self.store.graph(hash).await?;
        let text = text.ok_or_else(|| Error::UnknownGraph(hash.to_owned()))?;
        let graph: Graph = serde_json::from_str(&text).map_err(|error| Error::GraphUnusable {
            graph: hash.to_owned(),
            reason: error.to_string(),
        })?;
        self.compile(Arc::new(graph))
    }

    /// The program of a graph that the store may not have yet.
    pub(super) async fn keep(&self, graph: Arc<Graph>) -> Result<Arc<Program>, Error> {
        if let Some(program) = self.programs().get(&graph.hash).cloned() {
            return Ok(program);
        }
        let text = serde_json::to_string(&*graph).map_err(|error| Error::GraphUnusable {
            graph: graph.name.clone(),
            reason: error.to_string(),
        })?;
        self.store.put_graph(&graph.hash, &text).await?;
        self.compile(graph)
    }

    /// The version of `graph` that ran up to `base`, where that is another; `None` too where it cannot be read any more.
    pub(super) async fn version_before(
        &self,
        base: Option<&Checkpoint>,
        graph: &Graph,
    ) -> Option<Arc<Program>> {
        let before = &base?.run;
        if before.graph != graph.name || before.graph_hash == graph.hash {
            return None;
        }
        self.program(&before.graph_hash).await.ok()
    }

    /// Who works on threads in this process.
    pub(super) fn turns(&self) -> &Turns {
        &self.turns
    }

    /// What wakes threads, if anything does.
    pub(super) fn engine(&self) -> Option<&Arc<dyn Engine>> {
        self.engine.as_ref()
    }

    fn compile(&self, graph: Arc<Graph>) -> Result<Arc<Program>, Error> {
        let hash = graph.hash.clone();
        let program = Arc::new(Program::new(graph, self.nodes.as_ref())?);
        self.programs().insert(hash, program.clone());
        Ok(program)
    }

    fn programs(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Program>>> {
        self.programs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a letter durable, then tells whoever owns the thread, then wakes it.
    async fn post(
        &self,
        thread: &ThreadId,
        letter: &Letter,
        dedupe: Option<&str>,
    ) -> Result<PostOutcome, Error> {
        let outcome = self.store.inbox_push(thread, letter, self.clock.now(), dedupe).await?;
        if let Some(turn) = self.turns.current(thread) {
            turn.post();
        }
        if let (Some(engine), PostOutcome::Accepted(_)) = (&self.engine, outcome) {
            engine.wake(thread, None).await?;
        }
        Ok(outcome)
    }

    /// The journal of `thread` has grown.
    pub(super) fn announce(&self, thread: &ThreadId) {
        self.bell.ring(thread);
    }

    pub(super) async fn known(&self, thread: &ThreadId) -> Result<Arc<Checkpoint>, Error> {
        let head = self.store.head(thread).await?;
        head.ok_or_else(|| Error::UnknownThread(thread.clone()))
    }

    pub(super) fn fresh_run_id(&self) -> RunId {
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        RunId::fresh(self.clock.now(), &mut *rng)
    }
}

fn summary(row: ThreadRow) -> ThreadSummary {
    let head = row.head.as_deref();
    ThreadSummary {
        thread: row.thread,
        status: head.map_or(ThreadStatus::Idle, |head| head.status.into()),
        run: head.map(|head| head.run.id.clone()),
        graph: head.map(|head| head.run.graph.clone()),
        interrupts: head
            .filter(|head| !head.status.is_over())
            .map_or(0, |head| head.interrupts().count()),
        created: head.map(|head| head.run.thread_created),
        updated: head.map(|head| head.at),
    }
}

/// Input and context of a run, by name. Errors: what does not fit the graph.
fn fitting(program: &Program, start: &mut Start) -> Result<[BTreeMap<String, Value>; 2], Error> {
    let input = program.check_input(start.input.take())?;
    let context = program.check_context(start.context.take())?;
    let written: Vec<(String, Value)> = start.writes.clone().into_iter().collect();
    program.check_values("input", &written)?;
    let named = start.pauses.before.iter().chain(&start.pauses.after);
    match named.filter(|name| *name != "*").find(|name| program.step(name).is_none()) {
        Some(name) => Err(program.unknown_node(name)),
        None => Ok([input, context]),
    }
}
