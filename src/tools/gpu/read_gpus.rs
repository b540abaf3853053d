//! `read_gpus`: what the devices say.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::GpuReading;
use crate::tools::{Effect, Error, Tool, ToolContext};

/// Reads utilization, memory, power, clocks, throttle reasons and errors of a deployment's GPUs.
pub(in crate::tools) struct ReadGpus;

/// Which deployment.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::tools) struct Args {
    /// Name of the deployment.
    deployment: String,
}

/// The devices that could be read.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::tools) struct Output {
    /// Empty when none can be read here.
    gpus: Vec<GpuReading>,
    /// Says so when it is empty.
    note: Option<String>,
}

#[async_trait]
impl Tool for ReadGpus {
    const NAME: &'static str = "read_gpus";
    const EFFECT: Effect = Effect::Read;
    type Args = Args;
    type Output = Output;

    async fn call(&self, args: Args, cx: &ToolContext) -> Result<Output, Error> {
        let gpus = cx.target(&args.deployment)?.gpus.read().await?;
        let none = "no GPU counters can be read for this deployment; judge by the engine's metrics";
        let note = gpus.is_empty().then(|| none.to_owned());
        Ok(Output { gpus, note })
    }
}
