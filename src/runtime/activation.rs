//! One burst on one thread: load the head, apply letters, run supersteps, commit each.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::apply::{self, Start};
use super::draft::Draft;
use super::runtime::{Shared, Turn};
use super::{
    Checkpoint, CheckpointStore, Committed, Epoch, Error, Letter, NewEvent, Next, Posted,
    TaskResult,
};
use crate::base::{Clock, ThreadId};

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
        Ok(Self { shared, turn, thread, epoch, head, inbox, results, emit, emitted })
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
            let program = self.shared.program(&head.run.graph_hash).await?;
            let now = self.clock().now();
            if let Some(draft) = self.due(&head, &program, now) {
                self.commit(draft).await?;
                continue;
            }
            let mut open = head.tasks.iter().map(|task| &task.state);
            if !open.any(|state| state.is_runnable(now)) && !self.is_complete(&head) {
                return Ok(head.wake_at().map_or(Next::Idle, Next::At));
            }
            if stop.is_cancelled() {
                return Ok(Next::Again);
            }
            let moved = self.superstep(&head, &program, stop).await?;
            if !moved {
                self.stopped(stop).await?;
            }
        }
    }

    /// A superstep ended without any result: it was stopped from outside.
    async fn stopped(&mut self, stop: &CancellationToken) -> Result<(), Error> {
        if stop.is_cancelled() {
            return Ok(());
        }
        if !self.turn.cancel_token().is_cancelled() {
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
        let mut later = Vec::new();
        for posted in std::mem::take(&mut self.inbox) {
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
        let Letter::Start { run, graph_hash, input, context, rollback, .. } = &posted.letter else {
            return Ok(head.and_then(|head| apply::apply(&head, posted, now)));
        };
        if head.as_ref().is_some_and(|head| !head.status.is_over()) {
            return Ok(None);
        }
        let program = self.shared.program(graph_hash).await?;
        let rollback_to = match &head {
            Some(head) if *rollback => {
                Some(self.shared.store.state_at(self.thread, head.run.parent_seq).await?)
            }
            _ => None,
        };
        let (run, input, context) = (run.clone(), input.clone(), context.clone());
        let start = Start { run, input, context, rollback_to };
        let mut draft = apply::start(self.thread, head.as_deref(), &program, start, now);
        draft.applied.push(posted.id);
        self.results.clear();
        self.turn.renew();
        Ok(Some(draft))
    }

    /// Commits; the draft becomes the head. `false`: stale, the head was read again.
    ///
    /// Errors: [`Error::Fenced`] when another owner took over.
    pub(super) async fn commit(&mut self, draft: Draft) -> Result<bool, Error> {
        let commit = draft.into_commit(self.epoch);
        let (checkpoint, closes) = (commit.checkpoint.clone(), commit.closes_superstep);
        match self.shared.store.commit(commit).await? {
            Committed::Committed => {
                if closes {
                    self.results.clear();
                }
                self.head = Some(checkpoint);
                self.shared.announce(self.thread);
                Ok(true)
            }
            Committed::Stale => {
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

    pub(super) fn store(&self) -> &Arc<dyn CheckpointStore> {
        &self.shared.store
    }

    pub(super) fn turn(&self) -> &Turn {
        self.turn
    }

    pub(super) fn epoch(&self) -> Epoch {
        self.epoch
    }

    pub(super) fn seed(&self) -> u64 {
        self.shared.seed
    }
}
