//! What can be done to a world: the lines of its journal.

use serde::{Deserialize, Serialize};

use crate::base::EffectKey;
use crate::domain::{ServingConfig, TrafficTable};
use crate::serving::{LoadSpec, Purpose};

/// One line of the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Line {
    /// When [ms since the world's start]; for [`Action::Pass`], until when.
    pub(super) at_ms: u64,
    /// Requests of users that had ended when this was written: shows whether a replay is the same history.
    pub(super) ended: u64,
    /// What.
    pub(super) action: Action,
}

/// An action, or the mere passing of time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Action {
    /// The first line: which world this is.
    World { fingerprint: String, version: String },
    /// Time passes.
    Pass,
    /// A server is started.
    Launch { key: EffectKey, config: ServingConfig, purpose: Purpose },
    /// A server gets another purpose.
    Assign { backend: String, purpose: Purpose },
    /// A server is stopped.
    Stop { backend: String },
    /// A traffic table is put in force.
    Apply { table: TrafficTable },
    /// The table's lease is renewed.
    Renew,
    /// Synthetic load is put on a server.
    Drive { name: String, backend: String, load: LoadSpec },
}

impl Action {
    /// Whether losing it would matter more than losing a moment.
    pub(super) fn is_control(&self) -> bool {
        !matches!(self, Self::Pass | Self::Renew)
    }
}
