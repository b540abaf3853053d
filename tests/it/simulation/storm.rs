//! What goes wrong: a store that is slow, fails, or loses its answer; a program that is killed; wakes that get lost.

use std::future::{Future, pending};
use std::sync::Arc;

use async_trait::async_trait;
use perf_agent::base::{Clock, EffectKey, Millis, Problem, Rng, SeededRng, ThreadId};
use perf_agent::engine::Local;
use perf_agent::runtime::{
    Activate, Begun, Checkpoint, CheckpointStore, Commit, Committed, Engine, Epoch, Error, Event,
    Forgotten, Letter, NewEvent, Opened, PostOutcome, Posted, Retention, TaskResult, ThreadRow,
};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::graphs::below;
use super::laws;
use super::world::World;

/// How often what goes wrong: once in so many calls; `None`: never.
#[derive(Debug, Clone, Default)]
pub struct Storm {
    pub kill: Option<u64>,
    /// Stopped in an orderly way.
    pub drain: Option<u64>,
    /// The store fails and has done nothing.
    pub fail: Option<u64>,
    /// The store has done it, and the answer is lost.
    pub mute: Option<u64>,
    pub slow: Option<u64>,
    pub lose_wake: Option<u64>,
    pub repeat_wake: Option<u64>,
    /// The outside cancels, overtakes, repeats itself and answers late.
    pub unruly: bool,
    /// A killed program goes on for a while, as one on another machine would.
    pub two_owners: bool,
    /// Store calls after which the weather is fine.
    pub calls: u64,
}

impl Storm {
    pub fn of(seed: u64) -> Self {
        let mut rng = SeededRng::stream(seed, "storm");
        let mut pick =
            |choices: [u64; 4]| Some(choices[below(&mut rng, 4) as usize]).filter(|n| *n > 0);
        let mut storm = Self {
            kill: pick([0, 12, 40, 120]),
            drain: pick([0, 0, 60, 200]),
            fail: pick([0, 0, 50, 12]),
            mute: pick([0, 0, 50, 12]),
            slow: pick([0, 0, 10, 3]),
            lose_wake: pick([0, 0, 3, 1]),
            repeat_wake: pick([0, 0, 3, 1]),
            calls: 300,
            ..Self::default()
        };
        storm.unruly = rng.next_u64().is_multiple_of(2);
        storm.two_owners = storm.kill.is_some() && rng.next_u64().is_multiple_of(6);
        storm
    }
}

/// The store as one life of the program sees it.
pub struct StormyStore {
    pub world: Arc<World>,
    pub dead: CancellationToken,
}

impl StormyStore {
    /// One call that changes or reads something at once, or not at all.
    async fn call<T: std::fmt::Debug>(
        &self,
        name: &str,
        op: impl Future<Output = Result<T, Problem>>,
    ) -> Result<T, Problem> {
        let (world, storm) = (&self.world, &self.world.storm);
        if !world.count() {
            pending::<()>().await;
        }
        for _ in 0..world.below(3) {
            tokio::task::yield_now().await;
        }
        if world.once_in(storm.slow) {
            world.clock.sleep_ms(1 + world.below(400)).await;
        }
        self.point().await;
        if world.once_in(storm.fail) {
            world.tell(|| format!("{name} does nothing"));
            return Err(failure("did nothing"));
        }
        let done = op.await;
        world.tell(|| format!("{name}: {done:?}"));
        self.point().await;
        if world.once_in(storm.mute) {
            world.tell(|| format!("{name} loses its answer"));
            return Err(failure("lost its answer"));
        }
        done
    }

    /// A place to die.
    pub async fn point(&self) {
        if self.world.once_in(self.world.storm.kill) {
            self.world.tell(|| "killed".to_owned());
            self.dead.cancel();
        }
        if self.dead.is_cancelled() && !self.world.storm.two_owners {
            pending::<()>().await;
        }
    }
}

fn failure(how: &str) -> Problem {
    Problem {
        code: "store.stormy".to_owned(),
        message: format!("the store {how}"),
        hint: String::new(),
    }
}

/// An engine whose wakes get lost, or come twice.
pub struct StormyEngine {
    pub world: Arc<World>,
    pub local: Arc<Local>,
}

#[async_trait]
impl Engine for StormyEngine {
    async fn wake(&self, thread: &ThreadId, not_before: Option<Millis>) -> Result<(), Error> {
        let (world, storm) = (&self.world, &self.world.storm);
        if not_before.is_none() && world.once_in(storm.lose_wake) {
            return Ok(());
        }
        if world.once_in(storm.repeat_wake) {
            self.local.wake(thread, not_before).await?;
        }
        self.local.wake(thread, not_before).await
    }

    async fn serve(
        &self,
        activate: Arc<dyn Activate>,
        stop: CancellationToken,
    ) -> Result<(), Error> {
        self.local.serve(activate, stop).await
    }
}

#[async_trait]
impl CheckpointStore for StormyStore {
    async fn put_graph(&self, hash: &str, text: &str) -> Result<(), Problem> {
        self.call("put_graph", self.world.store.put_graph(hash, text)).await
    }
    async fn graph(&self, hash: &str) -> Result<Option<String>, Problem> {
        self.call("graph", self.world.store.graph(hash)).await
    }
    async fn open_epoch(&self, thread: &ThreadId, owner: &str) -> Result<Opened, Problem> {
        self.call("open_epoch", self.world.store.open_epoch(thread, owner)).await
    }
    async fn commit(&self, commit: Commit) -> Result<Committed, Problem> {
        self.call("commit", async {
            let store = &self.world.store;
            let before = store.head(&commit.checkpoint.thread).await?;
            let committed = store.commit(commit.clone()).await?;
            if committed == Committed::Committed {
                laws::of_commit(&self.world, before.as_deref(), &commit);
            }
            Ok(committed)
        })
        .await
    }
    async fn put_task_writes(
        &self,
        thread: &ThreadId,
        epoch: Epoch,
        result: &TaskResult,
        events: Vec<NewEvent>,
    ) -> Result<bool, Problem> {
        self.call(
            "put_task_writes",
            self.world.store.put_task_writes(thread, epoch, result, events),
        )
        .await
    }
    async fn append_events(
        &self,
        thread: &ThreadId,
        epoch: Epoch,
        events: Vec<NewEvent>,
    ) -> Result<bool, Problem> {
        self.call("append_events", self.world.store.append_events(thread, epoch, events)).await
    }
    async fn effect_begin(
        &self,
        thread: &ThreadId,
        epoch: Epoch,
        key: &EffectKey,
        policy: &str,
    ) -> Result<Begun, Problem> {
        self.call("effect_begin", self.world.store.effect_begin(thread, epoch, key, policy)).await
    }
    async fn effect_finish(&self, key: &EffectKey, result: &Value) -> Result<(), Problem> {
        self.call("effect_finish", self.world.store.effect_finish(key, result)).await
    }
    async fn inbox_push(
        &self,
        thread: &ThreadId,
        letter: &Letter,
        at: Millis,
        dedupe: Option<&str>,
    ) -> Result<PostOutcome, Problem> {
        self.call("inbox_push", self.world.store.inbox_push(thread, letter, at, dedupe)).await
    }
    async fn inbox(&self, thread: &ThreadId) -> Result<Vec<Posted>, Problem> {
        self.call("inbox", self.world.store.inbox(thread)).await
    }
    async fn results(&self, thread: &ThreadId) -> Result<Vec<TaskResult>, Problem> {
        self.call("results", self.world.store.results(thread)).await
    }
    async fn retain(&self, retention: &Retention) -> Result<Forgotten, Problem> {
        self.call("retain", self.world.store.retain(retention)).await
    }
    async fn head(&self, thread: &ThreadId) -> Result<Option<Arc<Checkpoint>>, Problem> {
        self.call("head", self.world.store.head(thread)).await
    }
    async fn state_at(
        &self,
        thread: &ThreadId,
        seq: u64,
    ) -> Result<Option<Arc<Checkpoint>>, Problem> {
        self.call("state_at", self.world.store.state_at(thread, seq)).await
    }
    async fn history(
        &self,
        thread: &ThreadId,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Arc<Checkpoint>>, Problem> {
        self.call("history", self.world.store.history(thread, before, limit)).await
    }
    async fn events(
        &self,
        thread: &ThreadId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Event>, Problem> {
        self.call("events", self.world.store.events(thread, after, limit)).await
    }
    async fn threads(&self, limit: usize) -> Result<Vec<ThreadRow>, Problem> {
        self.call("threads", self.world.store.threads(limit)).await
    }
    async fn wakes(&self, until: Millis, limit: usize) -> Result<Vec<(Millis, ThreadId)>, Problem> {
        self.call("wakes", self.world.store.wakes(until, limit)).await
    }
    async fn put_wake(&self, thread: &ThreadId, at: Millis) -> Result<(), Problem> {
        self.call("put_wake", self.world.store.put_wake(thread, at)).await
    }
    async fn stale_ready(&self, older: Millis, limit: usize) -> Result<Vec<ThreadId>, Problem> {
        self.call("stale_ready", self.world.store.stale_ready(older, limit)).await
    }
    async fn fork(&self, from: &ThreadId, seq: u64, to: &ThreadId) -> Result<bool, Problem> {
        self.call("fork", self.world.store.fork(from, seq, to)).await
    }
    async fn prune(&self, thread: &ThreadId, keep: usize) -> Result<u64, Problem> {
        self.call("prune", self.world.store.prune(thread, keep)).await
    }
    async fn delete(&self, thread: &ThreadId) -> Result<(), Problem> {
        self.call("delete", self.world.store.delete(thread)).await
    }
}
