//! Why tuning could not answer.

use crate::base::Coded;
use crate::sim::Refusal;

/// Why a prediction, a plan or a search has no answer. The rules (`propose_by_rules`) need none of this.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The simulator needs the shapes of model and device.
    #[error("deployment `{deployment}` does not say which {missing} it runs on or serves")]
    NoTwin {
        /// The deployment.
        deployment: String,
        /// `model`, `device` or `model and device`.
        missing: &'static str,
    },
    /// The window says too little about the load to repeat it.
    #[error("the window shows no load that could be repeated: {0}")]
    NoLoad(String),
    /// The config cannot start, so there is nothing to predict.
    #[error("this config cannot start: {0}")]
    Illegal(#[from] Refusal),
    /// Nobody waits for the answer any more.
    #[error("the search was stopped")]
    Stopped,
}

impl Coded for Error {
    fn code(&self) -> &'static str {
        match self {
            Self::NoTwin { .. } => "tuning.no_twin",
            Self::NoLoad(_) => "tuning.no_load",
            Self::Illegal(_) => "tuning.illegal_config",
            Self::Stopped => "tuning.stopped",
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::NoTwin { .. } => {
                "declare `model` and `gpu` of the deployment; without them only rules apply"
            }
            Self::NoLoad(_) => "observe again while requests finish, over at least 30 s",
            Self::Illegal(_) => "ask `validate_config` what to change",
            Self::Stopped => "search again: the same request finds the same configs",
        }
        .to_owned()
    }
}
