//! Tools that change what users get: start, look, abort. The machine decides (`rollout`), this acts.

mod abort_rollout;
mod actions;
mod controller;
mod ledger;
mod rollout_status;
mod start_rollout;

pub use ledger::rollout_on;

pub(super) use abort_rollout::AbortRollout;
pub(super) use rollout_status::RolloutStatus;
pub(super) use start_rollout::StartRollout;
