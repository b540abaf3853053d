//! `check_config`: would the engine accept it?

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Serialize;

use super::candidate::Args;
use crate::tools::{Effect, Error, Tool, ToolContext};
use crate::tuning;

/// Checks a config against the engine's rules and the device's memory before anything starts.
pub(in crate::tools) struct CheckConfig;

/// The verdict.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::tools) struct Output {
    /// Nothing speaks against it.
    legal: bool,
    /// What does.
    violations: Vec<tuning::Violation>,
}

#[async_trait]
impl Tool for CheckConfig {
    const NAME: &'static str = "check_config";
    const EFFECT: Effect = Effect::Read;
    type Args = Args;
    type Output = Output;

    async fn call(&self, args: Args, cx: &ToolContext) -> Result<Output, Error> {
        let target = &cx.target(&args.deployment)?.as_served().await?;
        let violations = tuning::legality::check(&target.deployment, &args.config);
        Ok(Output { legal: violations.is_empty(), violations })
    }
}
