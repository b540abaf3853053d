//! `rollout_status`: one look at a rollout, and what the look decides is done.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use super::controller;
use crate::base::RolloutId;
use crate::domain;
use crate::tools::{Effect, Error, Tool, ToolContext};

/// Reads the evidence, moves the rollout on or back, and says where it stands.
pub(in crate::tools) struct RolloutStatus;

/// Which rollout.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::tools) struct Args {
    /// Its id.
    rollout: RolloutId,
}

#[async_trait]
impl Tool for RolloutStatus {
    const NAME: &'static str = "rollout_status";
    const EFFECT: Effect = Effect::Production;
    type Args = Args;
    type Output = domain::RolloutStatus;

    async fn call(&self, args: Args, cx: &ToolContext) -> Result<Self::Output, Error> {
        let status = controller::advance(cx, &args.rollout, Vec::new()).await?;
        (cx.emit)(serde_json::json!({"rollout": {
            "state": status.state, "percent": status.canary_percent, "steps": status.steps,
            "evidence": status.evidence, "paused": status.paused, "plan": status.plan,
        }}));
        Ok(status)
    }
}
