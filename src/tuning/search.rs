//! Many configs in the simulator, so that few need a real trial.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::error::Error;
use super::moves::may_change_quality;
use super::rules::propose_within;
use super::screening::{Candidate, Round, Screen};
use super::shortlist::shortlist;
use super::space::Space;
use super::twin::{Twin, targets_of};
use crate::domain::{
    Cause, Deployment, Diagnosis, Knob, Objective, Observation, Prediction, Proposal,
    ServingConfig, changes_between,
};

/// What to search for, and where from.
#[derive(Debug, Clone)]
pub struct SearchRequest {
    /// The deployment.
    pub deployment: Deployment,
    /// Its present.
    pub observation: Observation,
    /// The goal.
    pub objective: Objective,
    /// What holds it back.
    pub diagnosis: Diagnosis,
    /// Seed of traces and of the space's random part.
    pub seed: u64,
    /// How much to simulate.
    pub budget: SearchBudget,
    /// Whether weights and KV cache may lose precision, which may change answers.
    pub allow_quality_change: bool,
    /// Only these may be changed; empty: all. A knob of precision that is named here may be changed by that.
    pub knobs: Vec<Knob>,
}

impl SearchRequest {
    fn allows_precision(&self) -> bool {
        self.allow_quality_change || self.knobs.iter().any(|knob| may_change_quality(*knob))
    }
}

/// How much to simulate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SearchBudget {
    /// Most legal configs in the first round.
    pub configs_max: usize,
    /// Requests each finalist is shown.
    pub final_requests: usize,
}

impl Default for SearchBudget {
    fn default() -> Self {
        Self { configs_max: 1500, final_requests: 5000 }
    }
}

/// What the search found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SearchResult {
    /// Configs looked at.
    pub evaluated: u64,
    /// Of these, legal ones.
    pub legal: u64,
    /// Rounds of the simulator.
    pub screened: Vec<Round>,
    /// What the simulator says of the running config; `null` without a model of the hardware.
    pub incumbent: Option<Prediction>,
    /// Configs worth a trial, in the order to try them; the running config is not among them.
    pub shortlist: Vec<Proposal>,
    /// How the search went and what it left out, one fact a line.
    pub reasons: Vec<String>,
}

/// Requests of the first round, and how many configs leave it.
const FIRST_REQUESTS: usize = 300;
const FIRST_KEPT: usize = 32;
/// Requests of the second round, and how many configs leave it.
const SECOND_REQUESTS: usize = 1000;
const SECOND_KEPT: usize = 12;

/// Searches for configs that bring the deployment nearer to its objective.
///
/// Prunes what is illegal, screens the rest in the simulator fitted to the observation (one trace for all configs,
/// successive halving), and shortlists a few, the smallest safe change first. Without model or device of the deployment,
/// the rules propose instead. Deterministic by seed.
///
/// Errors: [`Error::NoLoad`] when the window shows no load to repeat; [`Error::Illegal`] when the running config cannot be
/// simulated.
pub fn search(request: &SearchRequest) -> Result<SearchResult, Error> {
    search_until(request, &|| false)
}

/// The same, given up within one simulated config of `stop` saying so.
///
/// Errors: also [`Error::Stopped`].
pub fn search_until(
    request: &SearchRequest,
    stop: &(dyn Fn() -> bool + Sync),
) -> Result<SearchResult, Error> {
    if request.diagnosis.bottleneck == Cause::None && request.objective.improve.is_none() {
        return Ok(empty("every target is met, nothing to search for".to_owned()));
    }
    let deployment = &request.deployment;
    let targets = targets_of(&request.objective, deployment);
    let twin = match Twin::of(deployment, &request.observation, &targets, request.seed) {
        Ok(twin) => twin,
        Err(error @ Error::NoTwin { .. }) => return Ok(by_rules(request, &error)),
        Err(error) => return Err(error),
    };
    let precision = request.allows_precision();
    let mut space = Space::around(deployment, &twin.running, &twin.incumbent, precision);
    space.keep_only(&request.knobs);
    let drawn = space.draw(deployment, request.budget.configs_max, request.seed);
    let (objective, limits) = (&request.objective, &deployment.limits);
    let screen = Screen { twin: &twin, objective, limits, stop };
    let legal = drawn.configs.len() as u64;
    let mut screened = Vec::new();
    let mut configs = drawn.configs;
    let final_requests = request.budget.final_requests.max(FIRST_REQUESTS);
    let second_requests = SECOND_REQUESTS.min(final_requests);
    for (requests, keep) in [(FIRST_REQUESTS, FIRST_KEPT), (second_requests, SECOND_KEPT)] {
        let count = configs.len();
        let (_, candidates) = screen.round(configs, requests)?;
        configs = survivors(candidates, keep, &twin.running);
        screened.push(Round { requests, configs: count, kept: configs.len() });
    }
    configs.extend(without_idle_changes(&screen, &configs, second_requests)?);
    dedup(&mut configs);
    let count = configs.len();
    let (incumbent, finalists) = screen.round(configs, final_requests)?;
    let mut finalists = finalists;
    for candidate in &mut finalists {
        // What the page merely reads back was set by nobody, and need not be set now.
        candidate.config.0.retain(|knob, value| {
            deployment.config.value(*knob).is_some() || twin.running.value(*knob) != Some(value)
        });
    }
    let shortlist = shortlist(deployment, &incumbent, &finalists);
    screened.push(Round { requests: final_requests, configs: count, kept: shortlist.len() });
    let mut reasons = reasons(request, &twin, &shortlist);
    reasons.extend(outlook(&finalists));
    Ok(SearchResult {
        evaluated: drawn.evaluated,
        legal,
        screened,
        incumbent: Some(incumbent.prediction(twin.replicas())),
        shortlist,
        reasons,
    })
}

/// The best `keep` configs, and the best single change of every knob: a family must not die of a short trace.
fn survivors(
    candidates: Vec<Candidate>,
    keep: usize,
    running: &ServingConfig,
) -> Vec<ServingConfig> {
    let mut families = std::collections::BTreeSet::new();
    let single = |candidate: &Candidate| {
        let change = changes_between(running, &candidate.config);
        (change.len() == 1).then(|| change.into_keys().next()).flatten()
    };
    candidates
        .into_iter()
        .enumerate()
        .filter(|(at, candidate)| {
            let first_of_family = single(candidate).is_some_and(|knob| families.insert(knob));
            *at < keep || (first_of_family && candidate.worth.acceptable)
        })
        .map(|(_, candidate)| candidate.config)
        .collect()
}

/// The leading configs with every change undone that the simulator does not miss.
fn without_idle_changes(
    screen: &Screen<'_>,
    configs: &[ServingConfig],
    requests: usize,
) -> Result<Vec<ServingConfig>, Error> {
    let mut leaner = Vec::new();
    for config in configs.iter().take(2) {
        let mut best = config.clone();
        loop {
            let mut choices: Vec<ServingConfig> = reverted(&best, &screen.twin.running);
            choices.push(best.clone());
            let (_, ranked) = screen.round(choices, requests)?;
            match ranked.into_iter().next() {
                Some(first) if first.config != best => best = first.config,
                _ => break,
            }
        }
        leaner.push(best);
    }
    Ok(leaner)
}

/// `config` with one change undone, for each change; none when only one is left.
fn reverted(config: &ServingConfig, running: &ServingConfig) -> Vec<ServingConfig> {
    let changes = changes_between(running, config);
    if changes.len() < 2 {
        return Vec::new();
    }
    let undo = |(knob, change): (Knob, crate::domain::Change)| {
        let mut config = config.clone();
        match change.from {
            Some(value) => config.0.insert(knob, value),
            None => config.0.remove(&knob),
        };
        config
    };
    changes.into_iter().map(undo).collect()
}

fn dedup(configs: &mut Vec<ServingConfig>) {
    let mut seen = std::collections::BTreeSet::new();
    configs.retain(|config| seen.insert(config.fingerprint()));
}

fn empty(reason: String) -> SearchResult {
    SearchResult {
        evaluated: 0,
        legal: 0,
        screened: Vec::new(),
        incumbent: None,
        shortlist: Vec::new(),
        reasons: vec![reason],
    }
}

fn by_rules(request: &SearchRequest, why: &Error) -> SearchResult {
    let SearchRequest { diagnosis, deployment, observation, knobs, .. } = request;
    let shortlist = propose_within(diagnosis, deployment, observation, knobs);
    let count = shortlist.len() as u64;
    let why = format!("no simulation: {why}; proposed by rules, without predictions");
    let reasons = std::iter::once(why).chain(limited_to(knobs)).collect();
    SearchResult { evaluated: count, legal: count, shortlist, reasons, ..empty(String::new()) }
}

/// What a reader should know about the search.
fn reasons(request: &SearchRequest, twin: &Twin, shortlist: &[Proposal]) -> Vec<String> {
    let mut reasons = Vec::new();
    let profile = &twin.profile;
    reasons.push(format!(
        "simulated {:.2} requests/s of {:.0} prompt and {:.0} answer tokens on average",
        profile.request_rate_rps, profile.input_tokens.mean, profile.output_tokens.mean
    ));
    if let Some((before, after)) = twin.fit {
        reasons.push(format!(
            "observed TPOT is {before:.2} of the simulated, {after:.2} after fitting the twin"
        ));
    }
    reasons.extend(limited_to(&request.knobs));
    reasons.push(match request.allows_precision() {
        false => "precision of weights and KV cache was left alone: it may change answers".into(),
        true => {
            "precision may change what the model answers, and nothing here measures that".into()
        }
    });
    reasons.push("speculation was left out: its acceptance is not known before it runs".into());
    if shortlist.is_empty() {
        reasons.push("no config in reach is predicted to do better than the running one".into());
    }
    reasons
}

/// Says so when only some knobs may be changed.
fn limited_to(knobs: &[Knob]) -> Option<String> {
    let names: Vec<&str> = knobs.iter().map(|knob| knob.name()).collect();
    (!names.is_empty()).then(|| format!("only these may be changed: {}", names.join(", ")))
}

/// Says so when nothing in reach meets the targets.
fn outlook(finalists: &[Candidate]) -> Option<String> {
    let meets = finalists.iter().any(|candidate| candidate.forecast.meets(0.0));
    (!meets && !finalists.is_empty())
        .then(|| "no config in reach is predicted to meet every target".to_owned())
}
