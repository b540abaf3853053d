//! What is wrong with a rollout before it begins.

use crate::base::Coded;

/// Why a rollout cannot be planned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The plan contradicts itself or cannot lead to a proof.
    #[error("the rollout plan cannot work: {reason}")]
    InvalidPlan {
        /// What was expected and what was found.
        reason: String,
        /// What to change.
        hint: String,
    },
    /// A guard on something that a single session does not have.
    #[error("{metric} cannot be guarded per session: expected TTFT, TPOT, ITL or E2E latency")]
    UnsupportedGuard {
        /// The metric.
        metric: String,
    },
    /// Nobody serves users, so there is nothing to compare with or to return to.
    #[error("a rollout needs at least one stable backend, none was given")]
    NoStableBackend,
}

impl Coded for Error {
    fn code(&self) -> &'static str {
        match self {
            Self::InvalidPlan { .. } => "rollout.invalid_plan",
            Self::UnsupportedGuard { .. } => "rollout.unsupported_guard",
            Self::NoStableBackend => "rollout.no_stable_backend",
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::InvalidPlan { hint, .. } => hint.clone(),
            Self::UnsupportedGuard { .. } => {
                "guard TTFT and TPOT; errors are always guarded".to_owned()
            }
            Self::NoStableBackend => {
                "start the stable version first, then put it into the traffic table".to_owned()
            }
        }
    }
}
