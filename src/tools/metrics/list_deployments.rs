//! `list_deployments`: what is there to be tuned.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::Deployment;
use crate::serving::Target;
use crate::tools::{Effect, Error, Tool, ToolContext};

/// Lists every deployment with its engine, hardware, running config and what can be done to it.
pub(in crate::tools) struct ListDeployments;

/// No arguments.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::tools) struct Args {}

/// Every deployment.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::tools) struct Output {
    /// By name.
    deployments: Vec<Listed>,
}

/// One deployment and what can be done to it.
#[derive(Debug, Serialize, JsonSchema)]
struct Listed {
    /// The deployment.
    deployment: Deployment,
    /// A second version can be started and put under synthetic load.
    can_try: bool,
    /// Users can be moved to a second version step by step.
    can_roll_out: bool,
}

impl Listed {
    fn of(target: &Target) -> Self {
        Self {
            deployment: target.deployment.clone(),
            can_try: target.launcher.is_some() && target.load.is_some(),
            can_roll_out: target.launcher.is_some() && target.traffic.is_some(),
        }
    }
}

#[async_trait]
impl Tool for ListDeployments {
    const NAME: &'static str = "list_deployments";
    const EFFECT: Effect = Effect::Read;
    type Args = Args;
    type Output = Output;

    async fn call(&self, _args: Args, cx: &ToolContext) -> Result<Output, Error> {
        let mut deployments = Vec::new();
        for target in cx.targets.values() {
            deployments.push(Listed::of(&target.as_served().await?));
        }
        Ok(Output { deployments })
    }
}
