//! Time as an argument: the machine's clock, a hand-turned one, and (in `serving`) a simulated world's.

use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// A moment [ms since the Unix epoch] or, where said, a duration [ms].
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(transparent)]
pub struct Millis(pub u64);

impl Millis {
    /// This moment moved `ms` into the future; saturates.
    pub fn plus(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Time passed since `earlier` [ms]; 0 when `earlier` lies ahead.
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Where time comes from. Whoever waits asks this, so a simulated world can own time.
#[async_trait]
pub trait Clock: Send + Sync {
    /// The present moment.
    fn now(&self) -> Millis;

    /// Returns once `now() >= at`; at once when `at` is past.
    async fn sleep_until(&self, at: Millis);

    /// Whether time moves only when somebody sleeps on this clock: no real timer may be raced against it then.
    fn is_simulated(&self) -> bool {
        false
    }

    /// Returns after `ms` [ms].
    async fn sleep_ms(&self, ms: u64) {
        self.sleep_until(self.now().plus(ms)).await;
    }
}

/// The machine's clock.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Millis {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    async fn sleep_until(&self, at: Millis) {
        tokio::time::sleep(Duration::from_millis(at.since(self.now()))).await;
    }
}

/// A clock that moves only when told to: for tests and for replay.
#[derive(Debug)]
pub struct ManualClock {
    now: watch::Sender<Millis>,
    order: Mutex<()>,
}

impl ManualClock {
    /// A clock that shows `start`.
    pub fn new(start: Millis) -> Self {
        Self { now: watch::Sender::new(start), order: Mutex::new(()) }
    }

    /// Moves to `at`; never back.
    pub fn set(&self, at: Millis) {
        let _order = self.order.lock();
        self.now.send_if_modified(|now| {
            let forward = at > *now;
            *now = (*now).max(at);
            forward
        });
    }
}

#[async_trait]
impl Clock for ManualClock {
    fn now(&self) -> Millis {
        *self.now.borrow()
    }

    async fn sleep_until(&self, at: Millis) {
        let mut seen = self.now.subscribe();
        // The sender lives in `self`, so the wait cannot fail while we hold it.
        let _ = seen.wait_for(|now| *now >= at).await;
    }
}
