//! `run_trial`: one config on a spare server under synthetic load, beside the running config under the same load.
//!
//! Where no hardware is spare (`trial.mode: start_only`) it is only started and asked a few prompts.

use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::staged::Staged;
use crate::base::{EffectKey, TrialId, stable_hash};
use crate::domain::{
    Finish, Knob, Objective, Proposal, RequestRecord, RequestStats, ServingConfig, Trial,
    TrialOutcome, changes_between,
};
use crate::serving::{self, Launcher, LoadDriver, LoadSpec, Purpose, Running, Target};
use crate::tools::{Effect, Error, Tool, ToolContext, TrialMode};
use crate::tuning;

/// A trial that only starts a config asks it prompts for so long [s], at most so many a second.
const ASK: (f64, f64) = (10.0, 0.5);

/// Starts a config away from users, measures it under today's load, and stops it.
pub(in crate::tools) struct RunTrial;

/// What to try, for which goal.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::tools) struct Args {
    /// What to try.
    proposal: Proposal,
    /// The goal that judges it.
    objective: Objective,
    /// Only these knobs may be changed; left out: all.
    #[serde(default)]
    knobs: Option<Vec<Knob>>,
}

#[async_trait]
impl Tool for RunTrial {
    const NAME: &'static str = "run_trial";
    const EFFECT: Effect = Effect::Stage;
    type Args = Args;
    type Output = Trial;

    async fn call(&self, args: Args, cx: &ToolContext) -> Result<Trial, Error> {
        let target = cx.target(&args.proposal.deployment)?.as_served().await?;
        let Some(launcher) = target.launcher.clone() else {
            return Ok(advised(&target, args.proposal, cx));
        };
        let bench = Bench::of(cx, target, launcher).await?;
        let outside = bench.outside(&args);
        if !outside.is_empty() {
            return Ok(Trial {
                outcome: TrialOutcome::Rejected,
                ..bench.failed(args.proposal, cx, outside)
            });
        }
        let violations = tuning::legality::check(&bench.target.deployment, &args.proposal.config);
        if !violations.is_empty() {
            let reasons = violations.into_iter().map(|v| v.message).collect();
            return Ok(bench.failed(args.proposal, cx, reasons));
        }
        let only_start = cx.services.trial.mode == TrialMode::StartOnly;
        let result = match only_start {
            true => bench.start_only(args.proposal.clone(), cx).await,
            false => bench.compare(&args, cx).await,
        };
        match result {
            Err(Error::Serving(serving::Error::StartFailed { reason, last_lines })) => {
                let reasons = std::iter::once(reason).chain(last_lines).collect();
                Ok(bench.failed(args.proposal, cx, reasons))
            }
            other => other,
        }
    }
}

fn trial_id(key: &EffectKey) -> TrialId {
    TrialId(stable_hash(&["trial", key.as_str()]))
}

/// A spare place to measure configs of one deployment, and the load to measure them under.
struct Bench {
    target: Target,
    launcher: Arc<dyn Launcher>,
    driver: Arc<dyn LoadDriver>,
    load: LoadSpec,
}

/// The load that a thread's trials share, kept so that a resumed run measures under the same.
#[derive(Serialize, Deserialize)]
struct Baseline {
    load: LoadSpec,
    stats: Option<RequestStats>,
}

impl Bench {
    async fn of(
        cx: &ToolContext,
        target: Target,
        launcher: Arc<dyn Launcher>,
    ) -> Result<Self, Error> {
        let driver = target.load.clone().ok_or_else(|| Error::NotPossible {
            deployment: target.deployment.name.clone(),
            what: "run a trial".to_owned(),
            why: "it has no load generator".to_owned(),
        })?;
        let load = load_of(cx, &target).await?;
        Ok(Self { target, launcher, driver, load })
    }

    /// Candidate and running config under the same load, judged by the goal.
    async fn compare(&self, args: &Args, cx: &ToolContext) -> Result<Trial, Error> {
        let baseline = self.baseline(cx, &args.objective).await?;
        cx.began("candidate", Some(self.measuring_s()));
        let config = &args.proposal.config;
        let measured = self.measure(cx, &cx.key, config, &args.objective).await?;
        cx.ended("candidate");
        let limits = &self.target.deployment.limits;
        let mut judgement = tuning::judge(&args.objective, limits, &baseline, &measured);
        judgement.reasons.extend(self.unmeasured(&args.proposal));
        Ok(Trial {
            id: trial_id(&cx.key),
            flags: self.flags(&args.proposal),
            proposal: args.proposal.clone(),
            outcome: judgement.outcome,
            baseline: Some(baseline),
            measured: Some(measured),
            offered_rps: self.load.profile.request_rate_rps,
            reasons: judgement.reasons,
            gain: judgement.gain,
        })
    }

    /// Whether the candidate starts and answers. A load beside users would measure the neighbours and hurt them.
    async fn start_only(&self, proposal: Proposal, cx: &ToolContext) -> Result<Trial, Error> {
        cx.began("start", None);
        // One spare at most: each holds memory that users may need.
        self.launcher.release().await?;
        let mut load = LoadSpec { warmup_s: 0.0, duration_s: ASK.0, ..self.load.clone() };
        load.profile.request_rate_rps = load.profile.request_rate_rps.min(ASK.1);
        // Evenly spaced: a random gap could leave the candidate unasked.
        load.profile.arrival_cv = 0.0;
        let staged = Staged::under(&self.launcher, &cx.key);
        let asked = self.under_load(cx, &cx.key, &proposal.config, &load).await;
        let complete =
            |records: &[RequestRecord]| records.iter().all(|r| r.finish == Finish::Complete);
        let passed = asked.as_ref().ok().filter(|(_, seen)| !seen.is_empty() && complete(seen));
        let all = passed.is_some();
        // A second start of the same config would take as long again, beside users who feel it.
        match passed {
            Some((server, _)) => staged.keep(&server.backend.id).await?,
            None => staged.end().await?,
        }
        let (_, records) = asked?;
        cx.ended("start");
        let answered = records.iter().filter(|r| r.finish == Finish::Complete).count();
        let reason = match all {
            true => format!(
                "no spare hardware: started and answered {answered} prompts; \
                 users are the measure, after the switch, under absolute bounds"
            ),
            false => format!("started and answered only {answered} of {} prompts", records.len()),
        };
        Ok(Trial {
            id: trial_id(&cx.key),
            flags: self.flags(&proposal),
            outcome: if all { TrialOutcome::Accepted } else { TrialOutcome::Rejected },
            baseline: None,
            measured: None,
            offered_rps: load.profile.request_rate_rps,
            reasons: std::iter::once(reason).chain(self.unmeasured(&proposal)).collect(),
            proposal,
            gain: None,
        })
    }

    /// The running config under the trial's load, on the same spare place: measured once per config and load.
    async fn baseline(
        &self,
        cx: &ToolContext,
        objective: &Objective,
    ) -> Result<RequestStats, Error> {
        let config = &self.target.deployment.config;
        let load = serde_json::to_string(&self.load).unwrap_or_default();
        let goal = serde_json::to_string(objective).unwrap_or_default();
        let id = stable_hash(&["baseline", &config.fingerprint(), &load, &goal]);
        if let Some(document) = cx.services.documents.get("baselines", &id).await?
            && let Ok(Baseline { stats: Some(stats), .. }) = serde_json::from_value(document.value)
        {
            return Ok(stats);
        }
        cx.began("baseline", Some(self.measuring_s()));
        let stats = self.measure(cx, &EffectKey(id.clone()), config, objective).await?;
        let kept = json!({"load": self.load, "stats": stats});
        cx.services.documents.put("baselines", &id, None, kept).await?;
        cx.ended("baseline");
        Ok(stats)
    }

    /// The knobs that this proposal may not change and does, a sentence each.
    fn outside(&self, args: &Args) -> Vec<String> {
        let Some(knobs) = args.knobs.as_deref().filter(|knobs| !knobs.is_empty()) else {
            return Vec::new();
        };
        let changes = changes_between(&self.target.deployment.config, &args.proposal.config);
        let outside = changes.into_keys().filter(|knob| !knobs.contains(knob));
        outside.map(|knob| format!("it changes {knob}, which this run may not change")).collect()
    }

    /// What no trial here measures.
    fn unmeasured(&self, proposal: &Proposal) -> Option<String> {
        let changes = changes_between(&self.target.deployment.config, &proposal.config);
        let knobs = changes.into_keys().filter(|knob| tuning::may_change_quality(*knob));
        let knobs: Vec<&str> = knobs.map(Knob::name).collect();
        let knobs = (!knobs.is_empty()).then(|| knobs.join(" and "))?;
        Some(format!("{knobs} may change what the model answers, and that was not measured"))
    }

    /// How long a config is under load [s]; its server's start comes on top.
    fn measuring_s(&self) -> f64 {
        self.load.warmup_s + self.load.duration_s
    }

    /// The change in the engine's own flags, a line each, as a diff shows it.
    fn flags(&self, proposal: &Proposal) -> Vec<String> {
        let deployment = &self.target.deployment;
        serving::flag_diff(deployment.engine, &deployment.config, &proposal.config)
    }

    /// Starts, loads, stops. Started under `key`, so that doing it again after a crash starts nothing twice.
    async fn measure(
        &self,
        cx: &ToolContext,
        key: &EffectKey,
        config: &ServingConfig,
        objective: &Objective,
    ) -> Result<RequestStats, Error> {
        let staged = Staged::under(&self.launcher, key);
        let measured = self.under_load(cx, key, config, &self.load).await;
        // Whatever the load came to, the server goes: it holds hardware.
        staged.end().await?;
        let (_, records) = measured?;
        let all: Vec<&RequestRecord> = records.iter().collect();
        Ok(RequestStats::of(&all, self.load.duration_s, Some(objective)))
    }

    /// Starts `config` away from users and puts `load` on it. Its end is the caller's.
    async fn under_load(
        &self,
        cx: &ToolContext,
        key: &EffectKey,
        config: &ServingConfig,
        load: &LoadSpec,
    ) -> Result<(Running, Vec<RequestRecord>), Error> {
        let work = async {
            let server = self.launcher.launch(key, config, Purpose::Trial).await?;
            let records = self.driver.drive(&server.backend, load).await?;
            Ok((server, records))
        };
        cx.unless_cancelled(work).await?
    }

    fn failed(&self, proposal: Proposal, cx: &ToolContext, reasons: Vec<String>) -> Trial {
        Trial {
            id: trial_id(&cx.key),
            flags: self.flags(&proposal),
            proposal,
            outcome: TrialOutcome::FailedToStart,
            baseline: None,
            measured: None,
            offered_rps: self.load.profile.request_rate_rps,
            reasons,
            gain: None,
        }
    }
}

/// For a deployment that somebody else runs: what they would do, instead of a trial.
fn advised(target: &Target, proposal: Proposal, cx: &ToolContext) -> Trial {
    let deployment = &target.deployment;
    Trial {
        id: trial_id(&cx.key),
        flags: serving::flag_diff(deployment.engine, &deployment.config, &proposal.config),
        reasons: vec![serving::advice(deployment, &proposal.config)],
        proposal,
        outcome: TrialOutcome::Advised,
        baseline: None,
        measured: None,
        offered_rps: 0.0,
        gain: None,
    }
}

/// Today's load per replica, fixed for the run: its trials must be comparable.
async fn load_of(cx: &ToolContext, target: &Target) -> Result<LoadSpec, Error> {
    let deployment = &target.deployment;
    let id = stable_hash(&["load", &cx.run, &deployment.name, &deployment.config.fingerprint()]);
    if let Some(document) = cx.services.documents.get("trial_loads", &id).await?
        && let Ok(load) = serde_json::from_value(document.value)
    {
        return Ok(load);
    }
    let seen = target.observe.observe(f64::from(cx.services.windows.profile_s), None).await?;
    let mut profile = tuning::profile_of(&seen).ok_or_else(|| Error::NotPossible {
        deployment: deployment.name.clone(),
        what: "run a trial".to_owned(),
        why: "its pages do not tell rate and lengths of its requests, so no load can be copied"
            .to_owned(),
    })?;
    let settings = &cx.services.trial;
    profile.request_rate_rps *= settings.load_ratio / f64::from(deployment.replicas.max(1));
    let load = LoadSpec {
        profile,
        warmup_s: settings.warmup_s,
        duration_s: settings.duration_s,
        seed: cx.services.seed,
    };
    cx.services.documents.put("trial_loads", &id, None, json!(load)).await?;
    Ok(load)
}
