//! `propose_config`: a config that somebody names, as a proposal like any other.

use async_trait::async_trait;

use super::candidate::Args;
use crate::domain::{Proposal, changes_between};
use crate::tools::{Effect, Error, Tool, ToolContext};
use crate::tuning;

/// Makes a proposal of a given config; none when it is the one that runs.
pub(in crate::tools) struct ProposeConfig;

#[async_trait]
impl Tool for ProposeConfig {
    const NAME: &'static str = "propose_config";
    const EFFECT: Effect = Effect::Read;
    type Args = Args;
    type Output = Vec<Proposal>;

    async fn call(&self, args: Args, cx: &ToolContext) -> Result<Vec<Proposal>, Error> {
        let target = &cx.target(&args.deployment)?.as_served().await?;
        let deployment = &target.deployment;
        if changes_between(&deployment.config, &args.config).is_empty() {
            return Ok(Vec::new());
        }
        let seen = target.observe.observe(f64::from(cx.services.windows.profile_s), None).await?;
        // Without a model of the hardware, or of a config that cannot start, nothing is predicted.
        let prediction = tuning::predict(deployment, &seen, &args.config, cx.services.seed).ok();
        let why = "Asked for as it is; nothing was searched.".to_owned();
        Ok(vec![tuning::proposal(deployment, args.config, why, prediction)])
    }
}
