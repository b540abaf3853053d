//! Typed tools, and the registry that alone may call them: validate → policy → effect ledger → call → record.
//!
//! A tool is one file, one line in `list.rs` and one manifest in `tools/`. What a model may do is what stands here.

mod call;
mod error;
mod gpu;
mod list;
mod manifest;
mod metrics;
mod registry;
mod rollout;
mod targets;
mod tool;
mod tuning;

pub use call::{Call, Consent, Ledger};
pub use error::{Class, Error};
pub use list::built_in_manifests;
pub use manifest::{Approval, Effect, Manifest};
pub use registry::{Description, Registry};
pub use rollout::rollout_on;
pub use targets::{ByName, Targets};
pub use tool::{
    RolloutSettings, Services, Tool, ToolContext, TrialMode, TrialSettings, WindowSettings,
};
