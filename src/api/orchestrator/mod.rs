//! The orchestrator that this agent reports to: registered when the server starts, alive while it runs, gone when it stops.

mod course;
mod keeper;
mod link;
mod standing;

use std::sync::Arc;

use crate::base::Clock;

pub(super) use keeper::Keeper;
pub(super) use standing::Standing;

/// Where the orchestrator is, and how this agent introduces itself.
#[derive(Clone)]
pub struct OrchestratorOptions {
    /// Base URL: `http://orchestrator:8080`.
    pub url: String,
    /// Before every path: empty, or `/api/v1`.
    pub prefix: String,
    /// Name of this agent.
    pub name: String,
    /// Host under which the orchestrator reaches it; `None`: the address it listens on.
    pub host: Option<String>,
    /// What waits between heartbeats and attempts.
    pub clock: Arc<dyn Clock>,
    /// Seed of the jitter.
    pub seed: u64,
}

impl std::fmt::Debug for OrchestratorOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OrchestratorOptions")
            .field("url", &self.url)
            .field("prefix", &self.prefix)
            .field("name", &self.name)
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}
