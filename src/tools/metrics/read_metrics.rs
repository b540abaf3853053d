//! `read_metrics`: one look at a deployment.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::domain::{Objective, Observation};
use crate::tools::{Effect, Error, Tool, ToolContext};

/// What is waited for.
const WINDOW: &str = "a whole window of metrics";

/// Reads latency, throughput, queues and KV-cache utilization of one deployment.
pub(in crate::tools) struct ReadMetrics;

/// Which deployment, how far back.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::tools) struct Args {
    /// Name of the deployment.
    deployment: String,
    /// How far back to look [s], 10 to 3600; left out: as the config file says, 600 by default.
    #[schemars(range(min = 10, max = 3600))]
    #[serde(default)]
    window_s: Option<u32>,
    /// The goal: with it the clients' goodput counts the requests that met it.
    #[serde(default)]
    objective: Option<Objective>,
}

#[async_trait]
impl Tool for ReadMetrics {
    const NAME: &'static str = "read_metrics";
    const EFFECT: Effect = Effect::Read;
    type Args = Args;
    type Output = Observation;

    async fn call(&self, args: Args, cx: &ToolContext) -> Result<Observation, Error> {
        let target = cx.target(&args.deployment)?;
        let window_s = f64::from(args.window_s.unwrap_or(cx.services.windows.observe_s));
        // A server that was not watched before is watched for the whole window first: minutes in which somebody waits.
        let waits = !cx.services.clock.is_simulated();
        if waits {
            cx.began(WINDOW, Some(window_s));
        }
        let seen = target.observe.observe(window_s, args.objective.as_ref()).await?;
        if waits {
            cx.ended(WINDOW);
        }
        Ok(seen)
    }
}
