//! What can be done to a world: the lines of its journal.

use serde::{Deserialize, Serialize};

use crate::base::EffectKey;
use crate::domain::{ServingConfig, TrafficTable};
use crate::serving::{LoadSpec, Purpose};

/// One line of the journal: when [ms since the world's start], what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Line {
    pub(super) at_ms: u64,
    pub(super) action: Action,
}

/// An action, or the mere passing of time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Action {
    /// The first line: which world this is.
    World { fingerprint: String },
    /// Time passed.
    Pass,
    /// A server was started.
    Launch { key: EffectKey, config: ServingConfig, purpose: Purpose },
    /// A server has another purpose.
    Assign { backend: String, purpose: Purpose },
    /// A server was stopped.
    Stop { backend: String },
    /// A traffic table was put in force.
    Apply { table: TrafficTable },
    /// The table's lease was renewed.
    Renew,
    /// Synthetic load was put on a server.
    Drive { name: String, backend: String, load: LoadSpec },
}

impl Action {
    /// Whether losing it would matter more than losing a moment.
    pub(super) fn is_control(&self) -> bool {
        !matches!(self, Self::Pass | Self::Renew)
    }
}
