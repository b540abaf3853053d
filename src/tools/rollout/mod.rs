//! Tools that change what users get: start, look, abort, pause, resume, promote. The machine decides (`rollout`), this acts.

mod abort_rollout;
mod actions;
mod controller;
mod ledger;
mod orders;
mod rollout_status;
mod standstill;
mod start_rollout;

pub use ledger::rollout_on;

pub(super) use abort_rollout::AbortRollout;
pub(super) use orders::{PauseRollout, PromoteRollout, ResumeRollout};
pub(super) use rollout_status::RolloutStatus;
pub use standstill::is_paused;
pub(super) use start_rollout::StartRollout;
