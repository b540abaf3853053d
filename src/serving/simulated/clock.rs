//! The clock of a world: time passes when somebody sleeps.

use std::sync::Arc;

use async_trait::async_trait;

use super::World;
use crate::base::{Clock, Millis};

/// A world's clock.
pub(super) struct WorldClock(pub(super) Arc<World>);

/// Time passes in pieces of this length, so that tasks that sleep side by side wake in turn [ms].
const PIECE_MS: u64 = 1_000;

#[async_trait]
impl Clock for WorldClock {
    fn now(&self) -> Millis {
        self.0.now()
    }

    async fn sleep_until(&self, at: Millis) {
        loop {
            tokio::task::yield_now().await;
            let now = self.now();
            if now >= at {
                return;
            }
            self.0.pass_until(at.min(now.plus(PIECE_MS)));
        }
    }

    fn is_simulated(&self) -> bool {
        true
    }
}
