//! `pause_rollout`, `resume_rollout`, `promote_rollout`: what a person orders of a rollout that goes on. The record has the
//! order before anything follows from it.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use super::controller;
use crate::base::RolloutId;
use crate::domain::RolloutStatus;
use crate::rollout::Order;
use crate::tools::{Effect, Error, Tool, ToolContext};

/// Which rollout.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::tools) struct Args {
    /// Its id.
    rollout: RolloutId,
    /// The generation that was looked at: the order is refused when the rollout has moved on. Left out: whatever it is.
    #[serde(default)]
    generation: Option<u64>,
}

macro_rules! order {
    ($(#[$doc:meta])* $tool:ident = $name:literal, $order:expr) => {
        $(#[$doc])*
        pub(in crate::tools) struct $tool;

        #[async_trait]
        impl Tool for $tool {
            const NAME: &'static str = $name;
            const EFFECT: Effect = Effect::Production;
            type Args = Args;
            type Output = RolloutStatus;

            async fn call(&self, args: Args, cx: &ToolContext) -> Result<RolloutStatus, Error> {
                controller::order(cx, &args.rollout, $order, args.generation).await
            }
        }
    };
}

order! {
    /// Holds the weights; alarms still roll back.
    PauseRollout = "pause_rollout", Order::Pause
}
order! {
    /// Lets a rollout go on that was paused, holds for an incident, or waits for a person.
    ResumeRollout = "resume_rollout", Order::Resume
}
order! {
    /// Gives all users the new version without waiting for the proof; what speaks against it is not overruled.
    PromoteRollout = "promote_rollout", Order::Promote
}
