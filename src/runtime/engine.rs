//! The seam to whatever wakes threads: at least once. Firing twice is slow, never wrong.

use std::sync::Arc;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::Error;
use crate::base::{Millis, Problem, ThreadId};

/// Wakes threads.
#[async_trait]
pub trait Engine: Send + Sync {
    /// Activates `thread` not before `not_before` (`None`: at once), at least once, also after a restart.
    async fn wake(&self, thread: &ThreadId, not_before: Option<Millis>) -> Result<(), Error>;

    /// Activates threads until `stop`, then drains: what runs ends its superstep.
    async fn serve(
        &self,
        activate: Arc<dyn Activate>,
        stop: CancellationToken,
    ) -> Result<(), Error>;
}

/// Runs a thread for as long as it has something to do.
#[async_trait]
pub trait Activate: Send + Sync {
    /// One burst: loads the head, applies letters, runs supersteps, commits each.
    ///
    /// `stop` drains: the burst ends at the next superstep boundary, resumable.
    async fn activate(&self, thread: &ThreadId, stop: &CancellationToken) -> Next;
}

/// When a thread wants to be activated again.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// When something comes: a letter.
    Idle,
    /// Soon: it was stopped between two supersteps.
    Again,
    /// At this moment: its earliest timer or expiry.
    At(Millis),
    /// Not before somebody calls it by name: it is held, or somebody else's.
    Held,
    /// The store failed, or another owner was faster: after so long [ms].
    RetryAfter(u64, Problem),
    /// Never: it cannot be loaded.
    Dead(Problem),
}
