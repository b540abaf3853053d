//! One burst on one thread: load the head, apply letters, run supersteps, commit each.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::apply::{self, Start};
use super::draft::Draft;
use super::eager::Flight;
use super::program::Program;
use super::runtime::{Shared, Turn};
use super::{
    Checkpoint, Committed, Epoch, Error, Letter, NewEvent, Next, Posted, Status, TaskResult, fold,
    limits,
};
use crate::base::{Clock, Millis, ThreadId};

/// The owner of a thread for one burst.
pub(super) struct Activation<'a> {
    shared: &'a Shared,
    turn: &'a Turn,
    thread: &'a ThreadId,
    epoch: Epoch,
    head: Option<Arc<Checkpoint>>,
    inbox: Vec<Posted>,
    /// Results of finished tasks of the open superstep.
    pub(super) results: Vec<TaskResult>,
    pub(super) emit: mpsc::UnboundedSender<NewEvent>,
    pub(super) emitted: mpsc::UnboundedReceiver<NewEvent>,
    /// What tasks said and the store would not take yet.
    pub(super) unsaid: Vec<NewEvent>,
    /// The program of the run, once it was needed.
    program: Option<Arc<Program>>,
    /// The turn's token and the one its tasks get.
    tokens: Option<(CancellationToken, CancellationToken)>,
    /// Tasks of an eager graph that are at work.
    pub(super) flight: Flight,
}

impl<'a> Activation<'a> {
    /// Takes the thread over.
    pub(super) async fn open(
        shared: &'a Shared,
        turn: &'a Turn,
        thread: &'a ThreadId,
    ) -> Result<Self, Error> {
        let opened = shared.store.open_epoch(thread, &shared.owner).await?;
        let (emit, emitted) = mpsc::unbounded_channel();
        let (epoch, head) = (opened.epoch, opened.head);
        let (inbox, results) = (opened.inbox, opened.results);
        Ok(Self {
            shared,
            turn,
            thread,
            epoch,
            head,
            inbox,
            results,
            emit,
            emitted,
            unsaid: Vec::new(),
            program: None,
            tokens: None,
            flight: Flight::default(),
        })
    }

    /// Runs until the thread has nothing to do now, or `stop`.
    pub(super) async fn run(&mut self, stop: &CancellationToken) -> Result<Next, Error> {
        loop {
            // A burst of ready work must not starve the other threads of this worker.
            tokio::task::coop::consume_budget().await;
            if self.turn.take_mail() {
                self.inbox = self.shared.store.inbox(self.thread).await?;
            }
            if self.apply_letters().await? {
                continue;
            }
            let Some(head) = self.head.clone() else { return Ok(Next::Idle) };
            if head.status.is_over() {
                return Ok(Next::Idle);
            }
            let program = self.program(&head.run.graph_hash).await?;
            let now = self.clock().now();
            let known = self.results.len();
            if let Some(draft) = self.due(&head, &program, now) {
                if !draft.closes_superstep {
                    self.keep_results(known).await?;
                }
                self.commit(draft).await?;
                continue;
            }
            if let Some(draft) = self.out_of_time(&head, &program, now) {
                self.commit(draft).await?;
                continue;
            }
            let runnable = head.tasks.iter().any(|task| task.is_runnable(now));
            let at_work = !self.flight.is_empty();
            if !runnable && !at_work && !self.is_complete(&head) {
                return Ok(head.wake_at().map_or(Next::Idle, Next::At));
            }
            if stop.is_cancelled() && !at_work {
                return Ok(Next::Again);
            }
            if program.is_eager() {
                self.eager(&head, &program, stop).await?;
                continue;
            }
            let moved = self.superstep(&head, &program, stop).await?;
            if !moved {
                self.stopped(stop).await?;
            }
        }
    }

    /// The program of a graph: nearly always the same as before.
    async fn program(&mut self, hash: &str) -> Result<Arc<Program>, Error> {
        match &self.program {
            Some(program) if program.graph.hash == hash => Ok(program.clone()),
            _ => Ok(self.program.insert(self.shared.program(hash).await?).clone()),
        }
    }

    /// The token that cancels the run at work.
    pub(super) fn cancel_token(&self) -> CancellationToken {
        self.head
            .as_ref()
            .map_or_else(CancellationToken::new, |head| self.turn.cancel_token(&head.run.id))
    }

    /// The token that cancels the run, and the one below it for its tasks, which a stop sets too.
    pub(super) fn tokens(&mut self) -> (CancellationToken, CancellationToken) {
        let cancel = self.cancel_token();
        match &self.tokens {
            Some((of, token)) if *of == cancel && !token.is_cancelled() => (cancel, token.clone()),
            _ => {
                let token = cancel.child_token();
                self.tokens = Some((cancel.clone(), token.clone()));
                (cancel, token)
            }
        }
    }

    /// Keeps results of tasks that ended by the clock alone, from the `known`th on: others of their superstep go on.
    async fn keep_results(&mut self, known: usize) -> Result<(), Error> {
        for result in self.results.get(known..).unwrap_or_default().to_vec() {
            let kept =
                self.shared.store.put_task_writes(self.thread, self.epoch, &result, Vec::new());
            if !kept.await? {
                return Err(Error::Fenced(self.thread.clone()));
            }
        }
        Ok(())
    }

    /// A superstep ended without any result: it was stopped from outside.
    pub(super) async fn stopped(&mut self, stop: &CancellationToken) -> Result<(), Error> {
        if stop.is_cancelled() {
            return Ok(());
        }
        if !self.cancel_token().is_cancelled() {
            return Err(Error::Fenced(self.thread.clone()));
        }
        // The letter was durable before the token was set: whatever it says, it is in the inbox now.
        self.turn.renew();
        self.inbox = self.shared.store.inbox(self.thread).await?;
        Ok(())
    }

    /// Whether every task is finished, and only the closing commit is missing.
    fn is_complete(&self, head: &Checkpoint) -> bool {
        head.tasks.iter().all(|task| task.state == super::TaskState::Finished)
    }

    /// Applies the letters whose time has come. Returns whether it committed any.
    async fn apply_letters(&mut self) -> Result<bool, Error> {
        let mut applied = false;
        let mut later: Vec<Posted> = Vec::new();
        for posted in std::mem::take(&mut self.inbox) {
            if let Some(place) = withdrawn(&later, &posted.letter)
                && let Some(head) = self.head.clone()
            {
                let queued = later.remove(place);
                let draft = apply::withdraw(&head, &queued, &posted, self.clock().now());
                applied |= self.commit(draft).await?;
                continue;
            }
            match self.transition(&posted).await? {
                Some(draft) => applied |= self.commit(draft).await?,
                None => later.push(posted),
            }
        }
        self.inbox = later;
        Ok(applied)
    }

    /// What a letter makes of the thread; `None`: its time has not come.
    async fn transition(&mut self, posted: &Posted) -> Result<Option<Draft>, Error> {
        let now = self.clock().now();
        let head = self.head.clone();
        let Letter::Start {
            run,
            graph_hash,
            input,
            context,
            rollback,
            writes,
            from,
            pauses,
            supersteps_max,
            ..
        } = &posted.letter
        else {
            return Ok(head.and_then(|head| apply::apply(&head, posted, now)));
        };
        if head.as_ref().is_some_and(|head| !head.status.is_over()) {
            return Ok(None);
        }
        let program = self.shared.program(graph_hash).await?;
        // Only a run that was displaced is taken back: one that had finished before stands.
        let rollback_to = match &head {
            Some(_) if let Some(seq) = *from => {
                Some(self.shared.store.state_at(self.thread, seq).await?)
            }
            Some(head) if *rollback && head.status == Status::Cancelled => {
                Some(self.shared.store.state_at(self.thread, head.run.parent_seq).await?)
            }
            _ => None,
        };
        let (run, input, context) = (run.clone(), input.clone(), context.clone());
        let (writes, pauses) = (writes.clone(), pauses.clone());
        let supersteps_max = *supersteps_max;
        let start = Start { run, input, writes, context, pauses, supersteps_max, rollback_to };
        let base = match &start.rollback_to {
            Some(to) => to.as_deref(),
            None => head.as_deref(),
        };
        let old = self.shared.version_before(base, &program.graph).await;
        let versions = (&*program, old.as_deref());
        let mut draft = apply::start(self.thread, head.as_deref(), versions, start, now);
        draft.applied.push(posted.id);
        if let Some(head) = &head {
            draft.keep(head, std::mem::take(&mut self.results));
        }
        self.turn.renew();
        Ok(Some(draft))
    }

    /// Commits a change by hand, with results that belong to its open superstep.
    ///
    /// Errors: [`Error::Busy`] when something else changed the thread meanwhile.
    pub(super) async fn alter(
        &mut self,
        mut draft: Draft,
        results: Vec<TaskResult>,
    ) -> Result<(), Error> {
        let busy = || Error::Busy(self.thread.clone());
        // Results of the superstep before must be gone first: they are kept by node.
        if draft.closes_superstep && !results.is_empty() {
            let finished = draft.state.clone();
            for task in &mut draft.state.tasks {
                if task.state == super::TaskState::Finished {
                    (task.state, task.held) = (super::TaskState::Ready, true);
                }
            }
            draft.state.status = draft.state.status_of_tasks(draft.state.at);
            if !self.commit(draft).await? {
                return Err(busy());
            }
            draft = match &self.head {
                Some(head) => Draft::after(head, finished.at),
                None => return Err(busy()),
            };
            (draft.state.tasks, draft.state.status) = (finished.tasks, finished.status);
        }
        for result in &results {
            let kept =
                self.shared.store.put_task_writes(self.thread, self.epoch, result, Vec::new());
            if !kept.await? {
                return Err(Error::Fenced(self.thread.clone()));
            }
        }
        if self.commit(draft).await? { Ok(()) } else { Err(busy()) }
    }

    /// The newest checkpoint.
    pub(super) fn head(&self) -> Option<Arc<Checkpoint>> {
        self.head.clone()
    }

    /// Commits; the draft becomes the head. `false`: stale, the head was read again.
    ///
    /// Errors: [`Error::Fenced`] when another owner took over.
    pub(super) async fn commit(&mut self, mut draft: Draft) -> Result<bool, Error> {
        draft.state.progress.wall_end = self.wall_end(&draft.state).await;
        let commit = draft.into_commit(self.epoch);
        let (checkpoint, closes) = (commit.checkpoint.clone(), commit.closes_superstep);
        match self.shared.store.commit(commit).await? {
            Committed::Committed => {
                if closes {
                    self.results.clear();
                }
                self.flight.recall(&checkpoint);
                if checkpoint.status.is_over() {
                    self.land().await?;
                }
                self.head = Some(checkpoint);
                self.shared.announce(self.thread);
                Ok(true)
            }
            Committed::Stale => {
                self.land().await?;
                let opened = self.shared.store.open_epoch(self.thread, &self.shared.owner).await?;
                self.epoch = opened.epoch;
                self.head = opened.head;
                self.inbox = opened.inbox;
                self.results = opened.results;
                Ok(false)
            }
            Committed::Fenced => Err(Error::Fenced(self.thread.clone())),
        }
    }

    /// When a run that waits is out of wall time. A graph that cannot be had any more must not stand in a commit's way.
    async fn wall_end(&mut self, state: &Checkpoint) -> Option<Millis> {
        if state.status != Status::Waiting {
            return None;
        }
        limits::wall_end(&*self.program(&state.run.graph_hash).await.ok()?, state)
    }

    /// What follows when a run that only waits has run out of wall time. `None`: it has not.
    fn out_of_time(&mut self, head: &Checkpoint, program: &Program, now: Millis) -> Option<Draft> {
        let runnable = head.tasks.iter().any(|task| task.is_runnable(now));
        if runnable || !self.flight.is_empty() {
            return None;
        }
        let over = limits::out_of_time(program, head, now)?;
        let mut draft = Draft::after(head, now);
        // A signal that is already in the inbox was in time.
        draft.inbox_read_to = Some(self.read_to());
        let results = std::mem::take(&mut self.results);
        fold::close_over(&mut draft, program, head, results, vec![over]);
        Some(draft)
    }

    /// Journals what tasks say while they run.
    pub(super) async fn append(&mut self, events: Vec<NewEvent>) -> Result<(), Error> {
        if events.is_empty() {
            return Ok(());
        }
        if !self.shared.store.append_events(self.thread, self.epoch, events).await? {
            return Err(Error::Fenced(self.thread.clone()));
        }
        self.shared.announce(self.thread);
        Ok(())
    }

    /// Id of the newest letter this owner has seen unapplied, or knows to be applied.
    pub(super) fn read_to(&self) -> u64 {
        self.inbox.last().map_or(0, |posted| posted.id)
    }

    pub(super) fn clock(&self) -> &Arc<dyn Clock> {
        &self.shared.clock
    }

    pub(super) fn shared(&self) -> &'a Shared {
        self.shared
    }

    pub(super) fn turn(&self) -> &'a Turn {
        self.turn
    }

    pub(super) fn epoch(&self) -> Epoch {
        self.epoch
    }
}

/// The place of the queued start that `letter` cancels.
fn withdrawn(queued: &[Posted], letter: &Letter) -> Option<usize> {
    let Letter::Cancel { run: wanted, .. } = letter else { return None };
    queued
        .iter()
        .position(|posted| matches!(&posted.letter, Letter::Start { run, .. } if run == wanted))
}
