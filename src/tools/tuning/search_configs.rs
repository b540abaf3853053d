//! `search_configs`: thousands of configs in the simulator, a handful worth a trial.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use crate::domain::{Diagnosis, Knob, Objective};
use crate::tools::{Effect, Error, Tool, ToolContext, TrialMode};
use crate::tuning;

/// Prunes, screens and shortlists configs for an objective under the load seen now.
pub(in crate::tools) struct SearchConfigs;

/// For which goal, given which diagnosis.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::tools) struct Args {
    /// The goal; it names the deployment.
    objective: Objective,
    /// The diagnosis to act on.
    diagnosis: Diagnosis,
    /// Also consider configs that may change answers: quantization, KV dtype.
    #[serde(default)]
    allow_quality_change: bool,
    /// Only these knobs may be changed; left out: all.
    #[serde(default)]
    knobs: Option<Vec<Knob>>,
}

#[async_trait]
impl Tool for SearchConfigs {
    const NAME: &'static str = "search_configs";
    const EFFECT: Effect = Effect::Read;
    type Args = Args;
    type Output = tuning::SearchResult;

    async fn call(&self, args: Args, cx: &ToolContext) -> Result<Self::Output, Error> {
        let target = &cx.target(&args.objective.deployment)?.as_served().await?;
        let observation =
            target.observe.observe(f64::from(cx.services.windows.profile_s), None).await?;
        let request = tuning::SearchRequest {
            deployment: target.deployment.clone(),
            observation,
            objective: args.objective,
            diagnosis: args.diagnosis,
            allow_quality_change: args.allow_quality_change,
            knobs: args.knobs.unwrap_or_default(),
            seed: cx.services.seed,
            budget: tuning::SearchBudget::default(),
        };
        // Minutes of pure arithmetic: off the async threads. Nothing but this flag reaches it there once nobody waits for it.
        let left = CancellationToken::new();
        let _leaving = left.clone().drop_guard();
        let search = move || tuning::search_until(&request, &|| left.is_cancelled());
        let found = tokio::task::spawn_blocking(search).await;
        let mut found = found.map_err(|error| Error::Interrupted(error.to_string()))??;
        if cx.services.trial.mode == TrialMode::StartOnly {
            keep_one(&mut found);
        }
        Ok(found)
    }
}

/// Trials that measure nothing cannot tell two configs apart: only the one that would be chosen is worth a start.
fn keep_one(found: &mut tuning::SearchResult) {
    let Some(best) = tuning::best_unmeasured(&found.shortlist).cloned() else { return };
    if found.shortlist.len() > 1 {
        let left_out = found.shortlist.len() - 1;
        let why = format!("{left_out} more left out: trials only start here and cannot rank them");
        found.reasons.push(why);
    }
    found.shortlist = vec![best];
}
