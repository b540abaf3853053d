//! `plan_capacity`: how much load a config carries within its targets.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::domain::{Objective, ServingConfig};
use crate::tools::{Effect, Error, Tool, ToolContext};
use crate::tuning;

/// Finds the highest rate within the targets, and the replicas today's load needs.
pub(in crate::tools) struct PlanCapacity;

/// For which goal.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::tools) struct Args {
    /// The goal; it names the deployment.
    objective: Objective,
    /// The config to plan for; the running one when left out.
    #[serde(default)]
    config: Option<ServingConfig>,
}

#[async_trait]
impl Tool for PlanCapacity {
    const NAME: &'static str = "plan_capacity";
    const EFFECT: Effect = Effect::Read;
    type Args = Args;
    type Output = tuning::CapacityPlan;

    async fn call(&self, args: Args, cx: &ToolContext) -> Result<Self::Output, Error> {
        let target = &cx.target(&args.objective.deployment)?.as_served().await?;
        let seen = target.observe.observe(f64::from(cx.services.windows.profile_s), None).await?;
        let config = args.config.unwrap_or_else(|| target.deployment.config.clone());
        let seed = cx.services.seed;
        Ok(tuning::plan_capacity(&target.deployment, &seen, &args.objective, &config, seed)?)
    }
}
