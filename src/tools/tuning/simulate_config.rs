//! `simulate_config`: what the digital twin expects of a config at today's load.

use async_trait::async_trait;

use super::candidate::Args;
use crate::domain::Prediction;
use crate::tools::{Effect, Error, Tool, ToolContext};
use crate::tuning;

/// Predicts latency, goodput and throughput of a config under the load seen now.
pub(in crate::tools) struct SimulateConfig;

#[async_trait]
impl Tool for SimulateConfig {
    const NAME: &'static str = "simulate_config";
    const EFFECT: Effect = Effect::Read;
    type Args = Args;
    type Output = Prediction;

    async fn call(&self, args: Args, cx: &ToolContext) -> Result<Prediction, Error> {
        let target = &cx.target(&args.deployment)?.as_served().await?;
        let seen = target.observe.observe(f64::from(cx.services.windows.profile_s), None).await?;
        Ok(tuning::predict(&target.deployment, &seen, &args.config, cx.services.seed)?)
    }
}
