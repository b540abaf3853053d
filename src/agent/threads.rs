//! What an edge can do to threads: start with a say in all of it, change, branch, go on, cancel, forget.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::door::{CREATED, STARTED, started};
use super::{Agent, Error, JournalEntry, Started};
use crate::base::{Clock, RunId, SystemClock, ThreadId};
use crate::graph::Graph;
use crate::runtime::{
    self, MigrationReport, Multitask, Pauses, Start, ThreadDiff, ThreadState, ThreadStatus, Update,
};

/// A run to start.
#[derive(Debug, Clone, Default)]
pub struct StartRequest {
    /// Name of the graph.
    pub graph: String,
    /// Its input, an object.
    pub input: Value,
    /// Written to channels that are no input, through their reducers.
    pub writes: BTreeMap<String, Value>,
    /// Read-only values. Who operates is never the caller's to say.
    pub context: Map<String, Value>,
    /// Text of the config file, kept for a later resume.
    pub config: Option<String>,
    /// What to do with a run that goes on.
    pub multitask: Multitask,
    /// Nodes before and after which it is held.
    pub pauses: Pauses,
    /// Begin on the values of this checkpoint instead of the newest; 0: on none.
    pub from: Option<u64>,
    /// Most supersteps it may take, where the graph would let it take more.
    pub supersteps_max: Option<u64>,
    /// In whose name it is started, and consents if its context does; `None`: of the operator.
    pub by: Option<String>,
}

impl StartRequest {
    /// A run of `graph`; `approved`: nobody is asked.
    pub fn new(graph: &str, input: Value, approved: bool) -> Self {
        let approval = if approved { "never" } else { "ask" };
        let context = Map::from_iter([("approval".to_owned(), json!(approval))]);
        Self { graph: graph.to_owned(), input, context, ..Self::default() }
    }
}

impl Agent {
    /// Starts a run, or queues it.
    ///
    /// Errors: [`Error::UnknownGraph`]; input or context that does not fit; a busy thread that must not be displaced.
    pub async fn start_run(
        &self,
        thread: &ThreadId,
        request: StartRequest,
    ) -> Result<RunId, Error> {
        let definition = self.graph(&request.graph)?;
        let (graph, config) = (request.graph.clone(), request.config.clone());
        let runtime = &self.parts().runtime;
        let run = runtime.fresh_run();
        let start = Start { run: Some(run.clone()), ..self.start_of(&definition, request) };
        let started = Started {
            graph,
            seed: self.settings().seed,
            model: self.parts().model_line.clone(),
            choice: self.settings().model.choice,
            config,
            started_ms: self.clock().now().0,
            wall_s: 0.0,
            run: Some(run.clone()),
            scope: (self.scope() != thread.as_str()).then(|| self.scope().to_owned()),
        };
        if self.was_started(thread).await? {
            // What the runs before need stays until the new one is there.
            runtime.start_run(thread, definition, start).await?;
            self.keep_started(thread, &started).await?;
            return Ok(run);
        }
        // Written first: a run that nobody knows how to go on with would be lost to a crash here.
        self.keep_started(thread, &started).await?;
        if let Err(error) = runtime.start_run(thread, definition, start).await {
            let documents = &self.parts().store.documents;
            documents.remove(STARTED, thread.as_str()).await.map_err(Error::Run)?;
            return Err(error.into());
        }
        Ok(run)
    }

    /// Whether a run could begin with this on a thread that holds nothing; nothing is started.
    ///
    /// Errors: [`Error::UnknownGraph`]; input, context or nodes that do not fit.
    pub async fn check_start(&self, request: StartRequest) -> Result<(), Error> {
        let definition = self.graph(&request.graph)?;
        let start = self.start_of(&definition, request);
        Ok(self.parts().runtime.check_start(definition, start).await?)
    }

    /// The start as the runtime has it, with what the operator says and not the caller.
    fn start_of(&self, definition: &Graph, request: StartRequest) -> Start {
        let mut context = request.context;
        let by = request.by.as_deref().unwrap_or(&self.settings().operator);
        for (name, value) in [("operator", by), ("approval", "ask")] {
            if definition.context.contains_key(name)
                && (name == "operator" || !context.contains_key(name))
            {
                context.insert(name.to_owned(), json!(value));
            }
        }
        Start {
            input: request.input,
            writes: request.writes,
            context: Value::Object(context),
            multitask: request.multitask,
            pauses: request.pauses,
            from: request.from,
            run: None,
            supersteps_max: request.supersteps_max,
        }
    }

    async fn was_started(&self, thread: &ThreadId) -> Result<bool, Error> {
        match started(&self.parts().store, thread).await {
            Ok(_) => Ok(true),
            Err(Error::UnknownThread(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Answers one question of a thread in the name of `by`; `None`: the only one there is, of the operator.
    pub async fn answer_to(
        &self,
        thread: &ThreadId,
        interrupt: Option<&str>,
        answer: Value,
        by: Option<&str>,
    ) -> Result<(), Error> {
        let by = by.unwrap_or(&self.settings().operator);
        Ok(self.parts().runtime.resume(thread, interrupt, answer, by).await?)
    }

    /// Hands a value to the node that waits for that signal, now or next. Whoever calls drives the thread, or wakes its driver.
    ///
    /// Errors: [`Error::UnknownThread`]; no run, or one whose graph waits for no such signal.
    pub async fn signal(
        &self,
        thread: &ThreadId,
        name: &str,
        payload: Value,
    ) -> Result<RunId, Error> {
        let no_run = || runtime::Error::NoRun { thread: thread.clone(), action: "signal" };
        let state = self.look(thread).await?.filter(|state| !state.status.is_over());
        let state = state.ok_or_else(no_run)?;
        self.parts().runtime.check_signal(thread, name).await?;
        self.parts().runtime.signal(thread, name, payload).await?;
        Ok(state.run)
    }

    /// Journal entries of a thread behind `after`, oldest first.
    ///
    /// Errors: [`Error::UnknownThread`].
    pub async fn journal(
        &self,
        thread: &ThreadId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<JournalEntry>, Error> {
        self.look(thread).await?;
        Ok(self.parts().runtime.events(thread, after, limit).await?)
    }

    /// Changes the state of a thread that is not at work, as a node or as nobody. What follows is held: see [`Agent::go_on`].
    pub async fn update_state(
        &self,
        thread: &ThreadId,
        mut update: Update,
    ) -> Result<ThreadState, Error> {
        if update.by.is_empty() {
            update.by.clone_from(&self.settings().operator);
        }
        Ok(self.parts().runtime.update_state(thread, update).await?)
    }

    /// Lets a thread go on that failed or is held. Whoever calls drives it, or wakes its driver.
    pub async fn go_on(&self, thread: &ThreadId) -> Result<(), Error> {
        self.go_on_as(thread, None).await
    }

    /// Like [`Agent::go_on`], in the name of `by`; `None`: of the operator.
    pub async fn go_on_as(&self, thread: &ThreadId, by: Option<&str>) -> Result<(), Error> {
        let by = by.unwrap_or(&self.settings().operator);
        Ok(self.parts().runtime.go_on(thread, by).await?)
    }

    /// Cancels the run that goes on; what it said and what had finished stays.
    pub async fn cancel(&self, thread: &ThreadId) -> Result<(), Error> {
        self.cancel_as(thread, None).await
    }

    /// Like [`Agent::cancel`], in the name of `by`; `None`: of the operator.
    pub async fn cancel_as(&self, thread: &ThreadId, by: Option<&str>) -> Result<(), Error> {
        let by = by.unwrap_or(&self.settings().operator);
        self.parts().runtime.cancel(thread, by).await?;
        Ok(self.parts().runtime.settle(thread).await?)
    }

    /// Cancels one run of a thread: the one that goes on, or one that is queued.
    pub async fn cancel_run(&self, thread: &ThreadId, run: &RunId) -> Result<(), Error> {
        self.cancel_run_as(thread, run, None).await
    }

    /// Like [`Agent::cancel_run`], in the name of `by`; `None`: of the operator.
    pub async fn cancel_run_as(
        &self,
        thread: &ThreadId,
        run: &RunId,
        by: Option<&str>,
    ) -> Result<(), Error> {
        let by = by.unwrap_or(&self.settings().operator);
        let runtime = &self.parts().runtime;
        runtime.cancel_run(thread, run, by).await?;
        let goes_on = runtime.state(thread).await?.is_some_and(|state| state.run == *run);
        // A queued one is taken back between two supersteps of the one before, which may take hours.
        match goes_on {
            true => Ok(runtime.settle(thread).await?),
            false => Ok(runtime.settle_if_free(thread).await?),
        }
    }

    /// A new thread with the history of `thread` up to checkpoint `seq` (`None`: all of it), held where it was open.
    ///
    /// Errors: no such thread or checkpoint.
    pub async fn fork(&self, thread: &ThreadId, seq: Option<u64>) -> Result<ThreadState, Error> {
        let to = self.parts().fresh_thread(SystemClock.now());
        let state = self.parts().runtime.fork(thread, seq, &to).await?;
        let started = started(&self.parts().store, thread).await?;
        let scope = started.scope.clone().or_else(|| Some(thread.to_string()));
        let forked = Started { run: Some(state.run.clone()), scope, ..started };
        self.keep_started(&to, &forked).await?;
        Ok(state)
    }

    /// A copy of a thread; one that never ran gives one that never ran.
    pub async fn copy(&self, thread: &ThreadId) -> Result<ThreadId, Error> {
        match self.look(thread).await? {
            None => self.create_thread().await,
            Some(_) => Ok(self.fork(thread, None).await?.thread),
        }
    }

    /// Sets a thread back to an earlier checkpoint; what came in between stays in its history.
    pub async fn rewind(&self, thread: &ThreadId, seq: u64) -> Result<ThreadState, Error> {
        Ok(self.parts().runtime.rewind(thread, seq).await?)
    }

    /// How two checkpoints differ; `None` is the newest.
    pub async fn diff(
        &self,
        left: (&ThreadId, Option<u64>),
        right: (&ThreadId, Option<u64>),
    ) -> Result<ThreadDiff, Error> {
        Ok(self.parts().runtime.diff(left, right).await?)
    }

    /// The thread as it stood at a checkpoint.
    pub async fn state_at(
        &self,
        thread: &ThreadId,
        seq: u64,
    ) -> Result<Option<ThreadState>, Error> {
        Ok(self.parts().runtime.state_at(thread, seq).await?)
    }

    /// Checkpoints before `before` (`None`: all), newest first.
    pub async fn history_before(
        &self,
        thread: &ThreadId,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<ThreadState>, Error> {
        Ok(self.parts().runtime.history(thread, before, limit).await?)
    }

    /// What moving threads to the present version of `graph` would do: one thread, or every one of that graph. With `go`, those
    /// that can be moved are.
    ///
    /// Errors: [`Error::UnknownGraph`]; no such thread; a store that fails.
    pub async fn migrate(
        &self,
        graph: &str,
        thread: Option<&ThreadId>,
        go: bool,
    ) -> Result<Vec<MigrationReport>, Error> {
        let definition = self.graph(graph)?;
        let threads = match thread {
            Some(thread) => vec![thread.clone()],
            None => {
                let mut own = Vec::new();
                for thread in self.thread_ids().await? {
                    let state = self.parts().runtime.state(&thread).await?;
                    own.extend(state.filter(|state| state.graph == graph).map(|_| thread));
                }
                own
            }
        };
        let runtime = &self.parts().runtime;
        let mut reports = Vec::with_capacity(threads.len());
        for thread in threads {
            let report = runtime.plan_migration(&thread, definition.clone()).await?;
            if go && report.problems.is_empty() && !report.is_there {
                let by = &self.settings().operator;
                runtime.migrate(&thread, definition.clone(), by).await?;
            }
            reports.push(report);
        }
        Ok(reports)
    }

    /// Forgets all checkpoints but the newest `keep`. Returns how many went.
    pub async fn prune(&self, thread: &ThreadId, keep: usize) -> Result<u64, Error> {
        Ok(self.parts().runtime.prune(thread, keep).await?)
    }

    /// Forgets a thread with all that happened on it; what edges keep of it stays, see [`Agent::forget`].
    ///
    /// Errors: [`Error::UnknownThread`]; a thread at work: cancel it first.
    pub async fn delete(&self, thread: &ThreadId) -> Result<(), Error> {
        if let Some(state) = self.look(thread).await?
            && state.status == ThreadStatus::Busy
        {
            return Err(runtime::Error::Busy(thread.clone()).into());
        }
        self.parts().runtime.delete(thread).await?;
        for collection in [CREATED, STARTED] {
            let documents = &self.parts().store.documents;
            documents.remove(collection, thread.as_str()).await.map_err(Error::Run)?;
        }
        Ok(())
    }
}
