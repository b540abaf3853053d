//! `Agent`: everything an edge can ask for.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use super::assembly::{Assembled, assemble, unique_seed};
use super::{
    Check, Drawing, Error, OptimizeResult, Settings, StartRequest, Started, doctor, graphs,
};
use crate::base::{
    Clock, Coded, EffectKey, Millis, RunId, SeededRng, SystemClock, ThreadId, stable_hash,
};
use crate::engine::Local;
use crate::graph::{Case, Graph, Source};
use crate::runtime::{
    self, Activate, Follow, Letter, Next, Posted, ThreadState, ThreadStatus, ThreadSummary,
};
use crate::store;
use crate::tools::{self, Call, Consent, Description, Ledger};

/// Collection of how runs were started.
pub(super) const STARTED: &str = "started";
/// Collection of threads that were made before their first run.
pub(super) const CREATED: &str = "threads";
/// Checkpoints read at a time.
const HISTORY_PAGE: usize = 1_000;

/// Pause before a store that failed is asked again [ms].
pub(super) const STORE_RETRY_MS: u64 = 1_000;
/// How often a record is read again that somebody else wrote meanwhile.
const RECORD_TRIES_MAX: usize = 5;

/// A goal for one deployment.
#[derive(Debug, Clone)]
pub struct Goal {
    /// In plain words.
    pub text: String,
    /// Which deployment; `None`: the one it names, or the only one.
    pub deployment: Option<String>,
    /// Approved beforehand.
    pub approved: bool,
}

/// An assembled agent.
#[derive(Clone)]
pub struct Agent {
    parts: Arc<Assembled>,
    settings: Arc<Settings>,
    /// Name of the simulated world.
    scope: String,
}

impl Agent {
    /// An agent for a new thread, with a simulated world of its own where the fleet is simulated.
    pub async fn for_new_thread(settings: Settings) -> Result<(Self, ThreadId), Error> {
        let thread = ThreadId::fresh(SystemClock.now(), &mut SeededRng::new(unique_seed()));
        let store = store::open(&settings.store_url)?;
        Ok((Self::assembled(settings, store, thread.to_string()).await?, thread))
    }

    /// An agent for a thread that was started before, with the fleet and the seed it was started with.
    ///
    /// Errors: [`Error::UnknownThread`].
    pub async fn for_thread(mut settings: Settings, thread: &ThreadId) -> Result<Self, Error> {
        let store = store::open(&settings.store_url)?;
        let started = started(&store, thread).await?;
        settings.seed = started.seed;
        settings.model.choice = started.choice;
        if let Some(text) = &started.config {
            settings.config = super::ConfigFile::parse("the config of this thread", text)?;
        }
        let scope = started.scope.unwrap_or_else(|| thread.to_string());
        Self::assembled(settings, store, scope).await
    }

    /// An agent that many threads share: `scope` names its simulated world.
    pub async fn shared(settings: Settings, scope: &str) -> Result<Self, Error> {
        let store = store::open(&settings.store_url)?;
        Self::assembled(settings, store, scope.to_owned()).await
    }

    async fn assembled(
        settings: Settings,
        store: store::Store,
        scope: String,
    ) -> Result<Self, Error> {
        let parts = Arc::new(assemble(&settings, store, &scope).await?);
        Ok(Self { parts, settings: Arc::new(settings), scope })
    }

    /// Makes a thread that has no run yet.
    pub async fn create_thread(&self) -> Result<ThreadId, Error> {
        let now = SystemClock.now();
        let thread = self.parts.fresh_thread(now);
        let made = json!({"created_ms": now.0});
        let put = self.parts.store.documents.put(CREATED, thread.as_str(), Some(0), made).await;
        put.map(|_| thread).map_err(Error::Run)
    }

    /// Starts a graph on a thread. `config` is the text of the config file, kept for a later resume.
    ///
    /// Errors: [`Error::UnknownGraph`]; input that does not fit.
    pub async fn start(
        &self,
        thread: &ThreadId,
        graph: &str,
        input: Value,
        approved: bool,
        config: Option<String>,
    ) -> Result<RunId, Error> {
        let approval = if approved { "never" } else { "ask" };
        let mut context = Map::new();
        if self.graph(graph)?.context.contains_key("approval") {
            context.insert("approval".to_owned(), json!(approval));
        }
        self.start_with(thread, graph, input, context, config).await
    }

    /// Like [`Agent::start`], with a context of the caller's. Who operates is never the caller's to say.
    ///
    /// Errors: [`Error::UnknownGraph`]; input or context that does not fit.
    pub async fn start_with(
        &self,
        thread: &ThreadId,
        graph: &str,
        input: Value,
        context: Map<String, Value>,
        config: Option<String>,
    ) -> Result<RunId, Error> {
        let graph = graph.to_owned();
        let request = StartRequest { graph, input, context, config, ..StartRequest::default() };
        self.start_run(thread, request).await
    }

    /// Runs a thread until it is done, failed, or waits for a person. Adds the time it took to the thread's.
    pub async fn run_to_rest(
        &self,
        thread: &ThreadId,
        stop: &CancellationToken,
    ) -> Result<ThreadState, Error> {
        let began = self.sit_down().await?;
        let rested = self.parts.engine.run_to_rest(self, thread, stop).await;
        self.get_up(thread, began).await?;
        rested.map_err(Error::Run)?;
        self.state(thread).await
    }

    /// Work on a thread begins: what it works on is there. Returns when that was.
    pub(super) async fn sit_down(&self) -> Result<Millis, Error> {
        let began = SystemClock.now();
        self.up().await?;
        for host in &self.parts.hosts {
            host.watch();
        }
        Ok(began)
    }

    /// Work on a thread ends for now: what only it needed goes, and the time it took is added to the thread's.
    pub(super) async fn get_up(&self, thread: &ThreadId, began: Millis) -> Result<(), Error> {
        for host in &self.parts.hosts {
            host.release().await;
        }
        let took_s = SystemClock.now().since(began) as f64 / 1000.0;
        let documents = &self.parts.store.documents;
        // The thread's next run may be started in the same moment: its record must not be lost.
        for _ in 0..RECORD_TRIES_MAX {
            let (mut started, version) = started_version(&self.parts.store, thread).await?;
            started.wall_s += took_s;
            let value = json!(started);
            let put = documents.put(STARTED, thread.as_str(), Some(version), value).await;
            if put.map_err(Error::Run)?.is_some() {
                break;
            }
        }
        Ok(())
    }

    /// Makes sure that the deployments of this host serve users: server, proxy, table. What serves already is left alone.
    /// Says what was found, a line each.
    ///
    /// Errors: a server or a proxy that does not start, in its own words.
    pub async fn up(&self) -> Result<Vec<String>, Error> {
        let mut lines = Vec::new();
        for host in &self.parts.hosts {
            lines.push(host.up().await?);
        }
        Ok(lines)
    }

    /// Ends the deployments of this host: first the proxies, once their streams have ended, then the servers.
    pub async fn down(&self) -> Result<Vec<String>, Error> {
        let mut lines = Vec::new();
        for host in &self.parts.hosts {
            lines.push(host.down().await?);
        }
        Ok(lines)
    }

    /// Answers a thread's question.
    pub async fn answer(&self, thread: &ThreadId, answer: Value) -> Result<(), Error> {
        self.answer_as(thread, answer, None).await
    }

    /// Answers a thread's question in the name of `by`; `None`: of the operator.
    pub async fn answer_as(
        &self,
        thread: &ThreadId,
        answer: Value,
        by: Option<&str>,
    ) -> Result<(), Error> {
        let by = by.unwrap_or(&self.settings.operator);
        Ok(self.parts.runtime.resume(thread, None, answer, by).await?)
    }

    /// The thread as it stands.
    pub async fn state(&self, thread: &ThreadId) -> Result<ThreadState, Error> {
        let state = self.parts.runtime.state(thread).await?;
        state.ok_or_else(|| Error::UnknownThread(thread.to_string()))
    }

    /// The thread as it stands; `None`: it was made, and nothing ran on it yet. A question whose answer was taken is not
    /// open any more, even before the run has gone on with it.
    ///
    /// Errors: [`Error::UnknownThread`].
    pub async fn look(&self, thread: &ThreadId) -> Result<Option<ThreadState>, Error> {
        // The letters first: one that leaves the inbox after this changes the state that is read next.
        let letters = self.parts.store.checkpoints.inbox(thread).await;
        let letters = letters.map_err(runtime::Error::from)?;
        if let Some(mut state) = self.parts.runtime.state(thread).await? {
            leave_out_answered(&mut state, &letters);
            return Ok(Some(state));
        }
        for collection in [CREATED, STARTED] {
            let known = self.parts.store.documents.get(collection, thread.as_str()).await;
            // What was forgotten is null.
            if known.map_err(Error::Run)?.is_some_and(|document| !document.value.is_null()) {
                return Ok(None);
            }
        }
        Err(Error::UnknownThread(thread.to_string()))
    }

    /// Unfinished threads of this agent's world.
    pub(super) async fn unfinished(&self) -> Result<Vec<ThreadId>, Error> {
        let mut found = Vec::new();
        for thread in self.thread_ids().await? {
            let state = self.parts.runtime.state(&thread).await?;
            let status = state.map_or(ThreadStatus::Idle, |state| state.status);
            let is_open = matches!(status, ThreadStatus::Busy | ThreadStatus::Idle);
            if is_open && self.is_own(&thread).await? {
                found.push(thread);
            }
        }
        Ok(found)
    }

    /// Whether a thread belongs to this agent's world. Where fleets are simulated, each thread of the command line has its own.
    pub(super) async fn is_own(&self, thread: &ThreadId) -> Result<bool, Error> {
        match started(&self.parts.store, thread).await {
            Ok(started) => Ok(started.scope.as_ref() == Some(&self.scope)),
            Err(Error::UnknownThread(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Every checkpoint of a thread, newest first.
    pub async fn history(&self, thread: &ThreadId) -> Result<Vec<ThreadState>, Error> {
        let mut history: Vec<ThreadState> = Vec::new();
        loop {
            let before = history.last().map(|state| state.seq);
            let page = self.parts.runtime.history(thread, before, HISTORY_PAGE).await?;
            let is_last = page.len() < HISTORY_PAGE;
            history.extend(page);
            if is_last {
                return Ok(history);
            }
        }
    }

    /// The thread's journal, live.
    pub fn follow(&self, thread: &ThreadId, after_seq: u64) -> Follow {
        self.parts.runtime.follow(thread, after_seq)
    }

    /// The newest threads.
    pub async fn threads(&self, limit: usize) -> Result<Vec<ThreadSummary>, Error> {
        Ok(self.parts.runtime.threads(limit).await?)
    }

    /// What a run came to.
    pub async fn result(&self, thread: &ThreadId) -> Result<OptimizeResult, Error> {
        let started = started(&self.parts.store, thread).await?;
        let state = match (self.look(thread).await?, &started.run) {
            (Some(state), _) => state,
            (None, Some(run)) => return Ok(OptimizeResult::queued(thread, run.clone(), &started)),
            (None, None) => return Err(Error::UnknownThread(thread.to_string())),
        };
        let graph = self.graph(&started.graph).ok();
        Ok(OptimizeResult::of(thread, &state, &started, graph.as_deref()))
    }

    /// Every tool.
    pub fn tools(&self) -> Vec<Description> {
        self.parts.registry.describe()
    }

    /// Calls a tool by hand. `approved`: the operator consents to an effect on users.
    pub async fn call_tool(&self, tool: &str, args: Value, approved: bool) -> Result<Value, Error> {
        let consent = approved.then(|| Consent { by: self.settings.operator.clone() });
        self.call_by_hand(tool, args, consent).await
    }

    /// Calls a tool by hand with the consent of `by`; `None`: of the operator.
    pub async fn call_tool_as(
        &self,
        tool: &str,
        args: Value,
        by: Option<&str>,
    ) -> Result<Value, Error> {
        let by = by.unwrap_or(&self.settings.operator).to_owned();
        self.call_by_hand(tool, args, Some(Consent { by })).await
    }

    async fn call_by_hand(
        &self,
        tool: &str,
        args: Value,
        consent: Option<Consent>,
    ) -> Result<Value, Error> {
        let now = SystemClock.now().0.to_string();
        let call = Call {
            tool,
            key: EffectKey(stable_hash(&["by hand", tool, &args.to_string(), &now])),
            args,
            run: "by hand".to_owned(),
            consents: consent.into_iter().collect(),
            model: "none: called by hand".to_owned(),
            ledger: &NoLedger,
            emit: Arc::new(|_| {}),
            // Whoever calls by hand drops the call.
            cancel: CancellationToken::new(),
        };
        Ok(self.parts.registry.call(call).await?)
    }

    /// Names of the graphs.
    pub fn graph_names(&self) -> Vec<String> {
        self.parts.shelf.now().graphs.keys().cloned().collect()
    }

    /// Draws a graph.
    pub fn draw(&self, graph: &str, drawing: Drawing) -> Result<String, Error> {
        Ok(graphs::draw(&*self.graph(graph)?, drawing))
    }

    /// Draws the graph of a file.
    pub fn draw_file(&self, path: &Path, drawing: Drawing) -> Result<String, Error> {
        self.read_graph(path).map(|(graph, _)| graphs::draw(&graph, drawing))
    }

    /// Checks a graph file; its name when it is fine.
    pub fn check_graph(&self, path: &Path) -> Result<String, Error> {
        self.read_graph(path).map(|(graph, _)| graph.name)
    }

    /// A graph file and its tests.
    pub(super) fn graph_with_tests(&self, path: &Path) -> Result<(Graph, Vec<Case>), Error> {
        self.read_graph(path).map(|(graph, source)| (graph, crate::graph::cases(&source)))
    }

    fn read_graph(&self, path: &Path) -> Result<(Graph, Source), Error> {
        let now = self.parts.shelf.now();
        graphs::check_graph_file(path, &self.parts.registry, &now.prompts, &now.graphs)
    }

    /// Asks everything that is there.
    pub async fn doctor(&self) -> Vec<Check> {
        doctor::examine(&self.parts, &self.settings.model).await
    }

    /// Asks what work cannot do without: the store and every deployment.
    pub async fn pulse(&self, patience: Duration) -> Vec<Check> {
        doctor::pulse(&self.parts, patience).await
    }

    /// The model that decides, and why that one.
    pub fn model_line(&self) -> &str {
        &self.parts.model_line
    }

    /// Keeps checkpoints of other frameworks, beside the agent's own.
    pub fn saver(&self) -> &dyn store::CheckpointSaver {
        &*self.parts.store.saver
    }

    /// Whether the fleet is simulated in this process.
    pub fn is_simulated(&self) -> bool {
        self.parts.simulated
    }

    /// The deployments' clock.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.parts.clock
    }

    /// What wakes its threads.
    pub(super) fn engine(&self) -> &Arc<Local> {
        &self.parts.engine
    }

    pub(super) fn parts(&self) -> &Assembled {
        &self.parts
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Name of the simulated world.
    pub(super) fn scope(&self) -> &str {
        &self.scope
    }

    pub(super) fn graph(&self, name: &str) -> Result<Arc<Graph>, Error> {
        self.parts.shelf.now().graph(name)
    }

    pub(super) async fn keep_started(
        &self,
        thread: &ThreadId,
        started: &Started,
    ) -> Result<(), Error> {
        let documents = &self.parts.store.documents;
        let kept = documents.put(STARTED, thread.as_str(), None, json!(started)).await;
        kept.map(|_| ()).map_err(Error::Run)
    }
}

#[async_trait]
impl Activate for Agent {
    async fn activate(&self, thread: &ThreadId, stop: &CancellationToken) -> Next {
        let next = self.parts.runtime.activate(thread, stop).await;
        if !matches!(next, Next::At(_)) || !self.parts.simulated {
            return next;
        }
        match self.waits_for_a_person(thread).await {
            Ok(true) => Next::Held,
            Ok(false) => next,
            Err(error) => Next::RetryAfter(STORE_RETRY_MS, error.problem()),
        }
    }
}

impl Agent {
    /// A simulated world must not run ahead of a person who is asked, nor of one who paused its rollout.
    async fn waits_for_a_person(&self, thread: &ThreadId) -> Result<bool, Error> {
        Ok(self.state(thread).await?.status == ThreadStatus::Interrupted
            || tools::is_paused(self.parts.registry.services()).await?)
    }
}

fn leave_out_answered(state: &mut ThreadState, letters: &[Posted]) {
    let answered = |id: &str| {
        letters.iter().any(|posted| match &posted.letter {
            Letter::Resume { interrupt, .. } => interrupt == id,
            _ => false,
        })
    };
    let asked = state.interrupts.len();
    state.interrupts.retain(|open| !answered(&open.id));
    let all_answered = asked > 0 && state.interrupts.is_empty();
    if state.status == ThreadStatus::Interrupted && all_answered && state.held.is_empty() {
        state.status = ThreadStatus::Busy;
    }
}

pub(super) async fn started(store: &store::Store, thread: &ThreadId) -> Result<Started, Error> {
    Ok(started_version(store, thread).await?.0)
}

/// How a thread's run was started, and the version of that record.
async fn started_version(store: &store::Store, thread: &ThreadId) -> Result<(Started, u64), Error> {
    let document = store.documents.get(STARTED, thread.as_str()).await.map_err(Error::Run)?;
    let document = document.filter(|document| !document.value.is_null());
    let document = document.ok_or_else(|| Error::UnknownThread(thread.to_string()))?;
    let version = document.version;
    let started = serde_json::from_value(document.value).map_err(|error| Error::Config {
        file: format!("thread {thread}"),
        detail: error.to_string(),
    })?;
    Ok((started, version))
}

/// A call by hand belongs to no run: nothing is remembered of it.
struct NoLedger;

#[async_trait]
impl Ledger for NoLedger {
    async fn begin(&self, _: &EffectKey, _: &str) -> Result<Option<Value>, tools::Error> {
        Ok(None)
    }

    async fn finish(&self, _: &EffectKey, _: &Value) -> Result<(), tools::Error> {
        Ok(())
    }
}
