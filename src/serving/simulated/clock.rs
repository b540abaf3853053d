//! The clock of a world: time passes when somebody sleeps.
//!
//! Every sleeper may let time pass, but only up to the first moment at which anyone wakes. Whoever wakes gets the chance
//! to act before time goes on, so that a task that renews a lease every 40 s does so although another sleeps for an hour.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;

use super::World;
use crate::base::{Clock, Millis};

/// Time passes in pieces of this length, so that a long sleep neither holds the lock nor the thread for long [ms].
const PIECE_MS: u64 = 30_000;
/// Those who woke have this long to act before others let time pass again. It is real time: nothing else can tell a task
/// that is about to sleep again from one that is done.
const GRACE: Duration = Duration::from_millis(2);

/// A world's clock.
pub(super) struct WorldClock(pub(super) Arc<World>);

#[async_trait]
impl Clock for WorldClock {
    fn now(&self) -> Millis {
        self.0.now()
    }

    async fn sleep_until(&self, at: Millis) {
        let sleepers = &self.0.sleepers;
        let _bed = sleepers.lie_down(at);
        loop {
            // Whoever is ready to run, runs before time does.
            tokio::task::yield_now().await;
            if self.now() >= at {
                return;
            }
            sleepers.quiet(|| self.now() >= at).await;
            sleepers.pass(&self.0, at);
        }
    }

    fn is_simulated(&self) -> bool {
        true
    }
}

/// Everyone who sleeps on one world's clock.
#[derive(Debug, Default)]
pub(super) struct Sleepers {
    beds: Mutex<Beds>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Beds {
    /// (when to wake, ticket).
    taken: BTreeSet<(Millis, u64)>,
    tickets: u64,
    /// How many woke lately and have not lain down again.
    awake: usize,
}

/// A place among the sleepers; dropping it leaves.
struct Bed<'a> {
    sleepers: &'a Sleepers,
    place: (Millis, u64),
}

impl Drop for Bed<'_> {
    fn drop(&mut self) {
        self.sleepers.lock().taken.remove(&self.place);
    }
}

impl Sleepers {
    fn lie_down(&self, at: Millis) -> Bed<'_> {
        let mut beds = self.lock();
        beds.tickets += 1;
        beds.awake = beds.awake.saturating_sub(1);
        let place = (at, beds.tickets);
        beds.taken.insert(place);
        drop(beds);
        self.changed.notify_waiters();
        Bed { sleepers: self, place }
    }

    /// Lets time pass for one who sleeps until `at`: up to the first moment at which anyone wakes. Nobody lies down
    /// meanwhile, so nobody is overslept.
    fn pass(&self, world: &World, at: Millis) {
        let mut beds = self.lock();
        let before = world.now();
        if before >= at {
            return;
        }
        let first = beds.taken.range((before.plus(1), 0)..).next().map_or(at, |(first, _)| *first);
        world.pass_until(first.min(at).min(before.plus(PIECE_MS)));
        let woken = beds.taken.range((before.plus(1), 0)..(world.now().plus(1), 0)).count();
        if beds.taken.len() > 1 && woken > 0 {
            beds.awake += woken;
            drop(beds);
            self.changed.notify_waiters();
        }
    }

    /// Returns when everyone who woke has lain down again, at the latest after the grace; at once when oneself is due.
    async fn quiet(&self, due: impl Fn() -> bool) {
        let lain_down = async {
            loop {
                let mut changed = std::pin::pin!(self.changed.notified());
                changed.as_mut().enable();
                if self.lock().awake == 0 || due() {
                    return;
                }
                changed.await;
            }
        };
        if tokio::time::timeout(GRACE, lain_down).await.is_err() {
            self.lock().awake = 0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Beds> {
        self.beds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
