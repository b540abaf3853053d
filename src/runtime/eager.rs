//! Supersteps of an eager graph: each closes as soon as one of its tasks is done, and the others go on into the next.
//!
//! The loader proved that nothing that runs side by side can tell in which order it ends. What has ended is folded and
//! committed at once, so nothing is ever kept beside an open superstep; a restart runs again what was still at work, under
//! the same keys of its side effects, on values that nobody has changed meanwhile.

use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use tokio_util::sync::CancellationToken;

use super::activation::Activation;
use super::draft::Draft;
use super::program::Program;
use super::superstep::grace;
use super::task::{End, Job, Visits};
use super::{Checkpoint, Error, NodeError, Task, TaskState, fold, route};
use crate::base::Clock;

/// Tasks at work, across supersteps.
#[derive(Default)]
pub(super) struct Flight {
    running: FuturesUnordered<BoxFuture<'static, (Key, End)>>,
    aboard: Vec<(Key, CancellationToken)>,
    /// The failure that ends the run once everyone else is done.
    failed: Option<(String, NodeError)>,
}

/// A task: its node, and the superstep it was planned in.
type Key = (String, u64);

fn key(task: &Task, state: &Checkpoint) -> Key {
    (task.node.clone(), task.superstep(state))
}

impl Flight {
    pub(super) fn is_empty(&self) -> bool {
        self.aboard.is_empty()
    }

    fn has(&self, key: &Key) -> bool {
        self.aboard.iter().any(|(aboard, _)| aboard == key)
    }

    /// Whether anybody is at work whom the plan still knows.
    fn is_awaited(&self, state: &Checkpoint) -> bool {
        state.tasks.iter().any(|task| self.has(&key(task, state)))
    }

    /// Tells those to stop who are off the plan. What they still say is not listened to.
    pub(super) fn recall(&self, state: &Checkpoint) {
        for (aboard, token) in &self.aboard {
            if !state.tasks.iter().any(|task| key(task, state) == *aboard) {
                token.cancel();
            }
        }
    }

    fn landed(&mut self, (key, end): (Key, End)) -> (Key, End) {
        self.aboard.retain(|(aboard, _)| *aboard != key);
        (key, end)
    }

    /// Who has ended since, in the order they ended.
    fn take_landed(&mut self, first: (Key, End)) -> Vec<(Key, End)> {
        let mut ends = vec![self.landed(first)];
        while let Some(Some(end)) = self.running.next().now_or_never() {
            ends.push(self.landed(end));
        }
        ends
    }
}

/// Why the wait is over.
enum Woken {
    Ended(Vec<(Key, End)>),
    /// A letter, or a moment that a task waits for.
    Called,
    Cancelled,
}

impl Activation<'_> {
    /// Starts what can start, waits until something has ended or somebody calls, and commits what came of it.
    pub(super) async fn eager(
        &mut self,
        head: &Arc<Checkpoint>,
        program: &Arc<Program>,
        stop: &CancellationToken,
    ) -> Result<(), Error> {
        let kept = |task: &Task| task.state == TaskState::Finished || self.has_result(&task.node);
        let ends = if head.tasks.iter().any(kept) {
            Vec::new()
        } else {
            self.take_off(head, program, stop);
            match self.next_ends(head, stop).await? {
                Woken::Ended(ends) => ends,
                Woken::Called => return Ok(()),
                Woken::Cancelled => {
                    let ends = self.land().await?;
                    if ends.iter().all(|(_, end)| matches!(end, End::Stopped)) {
                        return self.stopped(stop).await;
                    }
                    ends
                }
            }
        };
        let mut draft = Draft::after(head, self.clock().now());
        let recovered = self.recover(&mut draft);
        let mut settled = Vec::new();
        for (landed, end) in ends {
            match (end, head.tasks.iter().position(|task| key(task, head) == landed)) {
                (End::Broken(problem), _) => return Err(Error::Store(problem)),
                (End::Stopped, Some(_)) => {
                    if !stop.is_cancelled() && !self.cancel_token().is_cancelled() {
                        return Err(Error::Fenced(head.thread.clone()));
                    }
                }
                // Off the plan: whatever it did, nobody waits for it.
                (_, None) => {}
                (end, Some(index)) => settled.push((index, end)),
            }
        }
        settled.sort_by_key(|(index, _)| *index);
        let moved = self.settle(&mut draft, program, head, settled) || recovered;
        let leftover = self.take_emitted();
        if !moved && head.tasks.iter().all(|task| task.state != TaskState::Finished) {
            return self.append(leftover).await;
        }
        draft.events.splice(0..0, leftover);
        self.commit(draft).await?;
        Ok(())
    }

    /// Starts the tasks that can run and do not, unless the run is about to end.
    fn take_off(
        &mut self,
        head: &Arc<Checkpoint>,
        program: &Arc<Program>,
        stop: &CancellationToken,
    ) {
        if stop.is_cancelled() || self.flight.failed.is_some() {
            return;
        }
        let (now, cancel) = (self.clock().now(), self.cancel_token());
        for task in head.tasks.iter().filter(|task| task.is_runnable(now)) {
            let key = key(task, head);
            if self.flight.has(&key) {
                continue;
            }
            let token = cancel.child_token();
            self.flight.aboard.push((key.clone(), token.clone()));
            let work = self.work(head, program, task, token);
            self.flight.running.push(work.map(|end| (key, end)).boxed());
        }
    }

    /// A task that goes on while supersteps come and go: it owns what it works on.
    fn work(
        &self,
        head: &Arc<Checkpoint>,
        program: &Arc<Program>,
        task: &Task,
        token: CancellationToken,
    ) -> impl Future<Output = End> + Send + use<> {
        let (state, program, task) = (head.clone(), program.clone(), task.clone());
        let (store, clock) = (self.shared().store.clone(), self.clock().clone());
        let (epoch, seed, emitted) = (self.epoch(), self.shared().seed, self.emit.clone());
        async move {
            let job = Job {
                program: &program,
                state: &state,
                task: &task,
                store: &store,
                clock: &clock,
                epoch,
                seed,
                emitted: &emitted,
                cancel: &token,
                visits: &Visits::of(&program),
            };
            job.run().await
        }
    }

    async fn next_ends(
        &mut self,
        head: &Checkpoint,
        stop: &CancellationToken,
    ) -> Result<Woken, Error> {
        let turn = self.turn();
        let cancel = self.cancel_token();
        let clock = self.clock().clone();
        let mut due = std::pin::pin!(rings(clock.as_ref(), self.next_moment(head)));
        let mut stopping = false;
        loop {
            if self.flight.is_empty() {
                return Ok(Woken::Called);
            }
            tokio::select! {
                biased;
                Some(end) = self.flight.running.next() => {
                    return Ok(Woken::Ended(self.flight.take_landed(end)));
                }
                Some(event) = self.emitted.recv() => {
                    self.unsaid.push(event);
                    self.say().await?;
                }
                () = cancel.cancelled() => return Ok(Woken::Cancelled),
                () = turn.posted(), if !stopping => return Ok(Woken::Called),
                () = &mut due, if !stopping => return Ok(Woken::Called),
                () = stop.cancelled(), if !stopping => {
                    stopping = true;
                    self.flight.aboard.iter().for_each(|(_, token)| token.cancel());
                }
            }
        }
    }

    /// The next moment that a task waits for that is not at work. `None` also where time moves only by work.
    fn next_moment(&self, head: &Checkpoint) -> Option<crate::base::Millis> {
        if self.clock().is_simulated() || self.flight.failed.is_some() {
            return None;
        }
        let waiting = head.tasks.iter().filter(|task| !self.flight.has(&key(task, head)));
        waiting.filter_map(Task::due).min()
    }

    /// Journals what tasks say; what the store does not take now is said with the next commit.
    async fn say(&mut self) -> Result<(), Error> {
        let events = self.take_emitted();
        match self.append(events.clone()).await {
            Err(Error::Store(_)) => {
                self.unsaid = events;
                Ok(())
            }
            said => said,
        }
    }

    /// What follows from the ends entered into `draft`.
    pub(super) fn conclude(
        &mut self,
        draft: &mut Draft,
        program: &Program,
        head: &Checkpoint,
        failure: Option<(String, NodeError)>,
    ) {
        if let Some(failure) = failure {
            self.flight.failed.get_or_insert(failure);
        }
        if draft.state.tasks.iter().any(|task| task.state == TaskState::Finished) {
            fold::close(draft, program, head, std::mem::take(&mut self.results));
        } else {
            draft.state.status = draft.state.status_of_tasks(draft.state.at);
        }
        // Others are worth finishing: what they did is kept.
        let over = draft.state.status.is_over();
        if !over
            && !self.flight.is_awaited(&draft.state)
            && let Some((node, error)) = self.flight.failed.take()
        {
            draft.fail(route::run_error(&node, &error));
        }
    }

    /// Tells everyone at work to stop, waits a moment, and drops whoever has not. Returns who ended.
    pub(super) async fn land(&mut self) -> Result<Vec<(Key, End)>, Error> {
        if self.flight.is_empty() {
            return Ok(Vec::new());
        }
        self.flight.aboard.iter().for_each(|(_, token)| token.cancel());
        let clock = self.clock().clone();
        let mut grace = std::pin::pin!(grace(clock.as_ref()));
        let mut ends = Vec::new();
        loop {
            tokio::select! {
                biased;
                end = self.flight.running.next() => match end {
                    Some(end) => ends.push(end),
                    None => break,
                },
                Some(event) = self.emitted.recv() => {
                    self.unsaid.push(event);
                    self.say().await?;
                }
                () = &mut grace => break,
            }
        }
        self.flight = Flight::default();
        Ok(ends)
    }
}

/// Returns at `moment`; never without one.
async fn rings(clock: &dyn Clock, moment: Option<crate::base::Millis>) {
    match moment {
        Some(moment) => clock.sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
