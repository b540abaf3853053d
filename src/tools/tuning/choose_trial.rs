//! `choose_trial`: the best accepted trial, or none.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::domain::{Objective, Trial};
use crate::tools::{Effect, Error, Tool, ToolContext};
use crate::tuning;

/// Picks the best accepted trial by the objective.
pub(in crate::tools) struct ChooseTrial;

/// Trials of one objective.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::tools) struct Args {
    /// The goal.
    objective: Objective,
    /// What was tried.
    trials: Vec<Trial>,
}

#[async_trait]
impl Tool for ChooseTrial {
    const NAME: &'static str = "choose_trial";
    const EFFECT: Effect = Effect::Read;
    type Args = Args;
    type Output = Option<Trial>;

    async fn call(&self, args: Args, _cx: &ToolContext) -> Result<Option<Trial>, Error> {
        Ok(tuning::choose(&args.objective, &args.trials).cloned())
    }
}
