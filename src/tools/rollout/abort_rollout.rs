//! `abort_rollout`: takes a rollout back. Always allowed.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use super::controller;
use crate::base::RolloutId;
use crate::domain;
use crate::rollout::{Command, Order};
use crate::tools::{Effect, Error, Tool, ToolContext};

/// Pause between two looks while requests finish [ms].
const LOOK_EVERY_MS: u64 = 5_000;

/// Returns all traffic to the stable version and waits until the canary is gone.
pub(in crate::tools) struct AbortRollout;

/// Which rollout.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::tools) struct Args {
    /// Its id.
    rollout: RolloutId,
}

#[async_trait]
impl Tool for AbortRollout {
    const NAME: &'static str = "abort_rollout";
    const EFFECT: Effect = Effect::Production;
    type Args = Args;
    type Output = domain::RolloutStatus;

    async fn call(&self, args: Args, cx: &ToolContext) -> Result<Self::Output, Error> {
        let by = cx.consents.last().map_or("operator".to_owned(), |consent| consent.by.clone());
        let order = Command { order: Order::Abort, by, generation: None };
        let mut status = controller::advance(cx, &args.rollout, vec![order]).await?;
        // The machine bounds the wait itself: draining has a deadline.
        while !status.finished {
            cx.services.clock.sleep_ms(LOOK_EVERY_MS).await;
            status = controller::advance(cx, &args.rollout, Vec::new()).await?;
        }
        Ok(status)
    }
}
