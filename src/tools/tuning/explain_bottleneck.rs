//! `explain_bottleneck`: the rules' diagnosis of what is seen right now.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::domain::{Diagnosis, Objective};
use crate::tools::{Effect, Error, Tool, ToolContext};
use crate::tuning;

/// Names the likeliest bottleneck of a deployment, with evidence and the runner-up.
pub(in crate::tools) struct ExplainBottleneck;

/// Against which goal.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::tools) struct Args {
    /// The goal; it names the deployment.
    objective: Objective,
    /// Window of one look [s], 10 to 600; two adjacent windows are read.
    #[schemars(range(min = 10, max = 600))]
    #[serde(default = "default_window_s")]
    window_s: u32,
}

fn default_window_s() -> u32 {
    60
}

#[async_trait]
impl Tool for ExplainBottleneck {
    const NAME: &'static str = "explain_bottleneck";
    const EFFECT: Effect = Effect::Read;
    type Args = Args;
    type Output = Diagnosis;

    async fn call(&self, args: Args, cx: &ToolContext) -> Result<Diagnosis, Error> {
        let target = &cx.target(&args.objective.deployment)?.as_served().await?;
        let window_s = f64::from(args.window_s);
        let now = target.observe.observe(window_s, Some(&args.objective)).await?;
        let windows = target.observe.series(2.0 * window_s, window_s).await.unwrap_or_default();
        let earlier = (windows.len() > 1).then(|| &windows[0]);
        Ok(tuning::diagnose(&now, earlier, &args.objective, &target.deployment))
    }
}
