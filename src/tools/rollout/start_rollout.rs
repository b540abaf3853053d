//! `start_rollout`: writes a rollout down; `rollout_status` moves it.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use super::ledger;
use crate::base::{RolloutId, stable_hash};
use crate::domain::{Objective, Provenance, RolloutPlan, Trial, TrialOutcome};
use crate::rollout::{Record, Start, default_plan};
use crate::serving::Target;
use crate::tools::{Effect, Error, Tool, ToolContext};
use crate::{domain, tuning};

/// Begins to roll the config of an accepted trial out.
pub(in crate::tools) struct StartRollout;

/// What to roll out, for which goal.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::tools) struct Args {
    /// The accepted trial.
    trial: Trial,
    /// The goal; it decides what is guarded.
    objective: Objective,
}

#[async_trait]
impl Tool for StartRollout {
    const NAME: &'static str = "start_rollout";
    const EFFECT: Effect = Effect::Production;
    type Args = Args;
    type Output = domain::RolloutStatus;

    async fn call(&self, args: Args, cx: &ToolContext) -> Result<Self::Output, Error> {
        let id = RolloutId(stable_hash(&["rollout", cx.key.as_str()]));
        if let Some(kept) = ledger::find(&cx.services, &id).await? {
            return Ok(kept.record.status());
        }
        let target = &cx.target(&args.trial.proposal.deployment)?.as_served().await?;
        refuse_unfit(cx, target, &args.trial).await?;
        let record = record(cx, target, args, id).await?;
        Ok(ledger::create(cx, record).await?.record.status())
    }
}

async fn refuse_unfit(cx: &ToolContext, target: &Target, trial: &Trial) -> Result<(), Error> {
    let deployment = &target.deployment.name;
    let impossible = |why: String| Error::NotPossible {
        deployment: deployment.clone(),
        what: "roll this out".to_owned(),
        why,
    };
    if trial.outcome != TrialOutcome::Accepted {
        return Err(impossible("its trial was not accepted".to_owned()));
    }
    if let Some(holder) = ledger::holder(&cx.services, deployment).await? {
        return Err(Error::Locked { deployment: deployment.clone(), holder });
    }
    let fingerprint = trial.proposal.config.fingerprint();
    match ledger::blocked(cx, deployment, &fingerprint).await? {
        Some(reason) => Err(impossible(format!("the same config failed here before: {reason}"))),
        None => Ok(()),
    }
}

async fn record(
    cx: &ToolContext,
    target: &Target,
    args: Args,
    id: RolloutId,
) -> Result<Record, Error> {
    let deployment = &target.deployment;
    let impossible = |why: &str| Error::NotPossible {
        deployment: deployment.name.clone(),
        what: "roll this out".to_owned(),
        why: why.to_owned(),
    };
    let traffic = target.traffic.as_ref().ok_or_else(|| impossible("it has no data plane"))?;
    if target.launcher.is_none() {
        return Err(impossible("it has no launcher"));
    }
    let table = traffic.observed().await?;
    let guards = tuning::guards(&args.objective, &deployment.limits, &args.trial);
    let approved_by = cx.consents.last().map_or("nobody".to_owned(), |consent| consent.by.clone());
    // The salt is the seed's and the config's, not the run's: one seed deals one history.
    let seed = cx.services.seed.to_string();
    let fingerprint = args.trial.proposal.config.fingerprint();
    let generation = table.generation.to_string();
    let salt = stable_hash(&["salt", &seed, &deployment.name, &fingerprint, &generation]);
    let start = Start {
        id,
        deployment: deployment.name.clone(),
        proposal: args.trial.proposal,
        plan: plan(cx, guards),
        stable: table.stable.backends,
        stable_config: deployment.config.clone(),
        salt,
        generation: table.generation,
        provenance: Provenance { approved_by, model: cx.model.clone() },
        canary: None,
    };
    Ok(Record::planned(start, cx.services.clock.now())?)
}

fn plan(cx: &ToolContext, guards: Vec<domain::Guard>) -> RolloutPlan {
    let pace = &cx.services.rollout;
    let ms = |s: f64| (s * 1000.0) as u64;
    RolloutPlan {
        steps_percent: pace.steps_percent.clone(),
        bake_time_ms: ms(pace.bake_time_s),
        step_time_max_ms: ms(pace.step_time_max_s),
        sessions_min: pace.sessions_min,
        soak_ms: ms(pace.soak_s),
        drain_max_ms: ms(pace.drain_max_s),
        ..default_plan(guards)
    }
}
