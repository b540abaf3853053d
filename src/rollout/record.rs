//! Everything durable about one rollout.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::evidence::Sketch;
use super::{Action, Error, Evidence, Frozen, validate};
use crate::base::{Millis, RolloutId};
use crate::domain::{
    Arm, Backend, Proposal, Provenance, RolloutPlan, RolloutState, ServingConfig, StepRecord,
};

/// What a rollout begins with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Start {
    /// The rollout.
    pub id: RolloutId,
    /// Deployment.
    pub deployment: String,
    /// What is rolled out.
    pub proposal: Proposal,
    /// How.
    pub plan: RolloutPlan,
    /// Backends that serve users now.
    pub stable: Vec<Backend>,
    /// Their config: what a rollback returns to.
    pub stable_config: ServingConfig,
    /// Salt of the session hash, new with every rollout.
    pub salt: String,
    /// Generation of the table in force.
    pub generation: u64,
    /// Who approved.
    pub provenance: Provenance,
    /// A server that already runs the new config; `None`: one is launched.
    pub canary: Option<Backend>,
}

/// A rollout's durable record. Write it before performing any action it asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The rollout.
    pub id: RolloutId,
    /// Deployment.
    pub deployment: String,
    /// What is rolled out.
    pub proposal: Proposal,
    /// How.
    pub plan: RolloutPlan,
    /// Who approved.
    pub provenance: Provenance,
    /// Backends that served users at the start.
    pub stable: Vec<Backend>,
    /// Their config.
    pub stable_config: ServingConfig,
    /// The new version; `None` until it runs.
    pub canary: Option<Backend>,
    /// Salt of the session hash.
    pub salt: String,
    /// Where it stands.
    pub state: RolloutState,
    /// Where it stood when a person was asked.
    pub held_from: Option<Box<RolloutState>>,
    /// Why it stands still, if it does.
    pub hold: Option<Hold>,
    /// Generation of the last table asked for.
    pub generation: u64,
    /// Generation of the table in force before the first one of ours.
    pub generation_before: u64,
    /// Highest generation read back from the data plane.
    pub generation_seen: u64,
    /// Canary share of the last table asked for, 0–100.
    pub percent: f64,
    /// Canary share in force as read back, 0–100.
    pub percent_in_force: f64,
    /// A table with a canary may have been in force: users may have seen it.
    pub exposed: bool,
    /// Somebody else's table is in force.
    pub foreign: bool,
    /// Thresholds, frozen before the first user was exposed.
    pub frozen: Option<Frozen>,
    /// State of the sequential tests; begins with `frozen`.
    pub evidence: Option<Evidence>,
    /// Every share so far.
    pub steps: Vec<StepRecord>,
    /// TTFT of the present share.
    pub step_ttft: BTreeMap<Arm, Sketch>,
    /// Time in the present state in which it could be judged [ms]: holds and the agent's absences left out.
    pub judged_ms: u64,
    /// Failed health checks of the canary in a row.
    pub canary_failures: u32,
    /// Requests that failed in either arm while users were exposed.
    pub requests_failed: u64,
    /// Streams that were cut in either arm while users were exposed.
    pub streams_cut: u64,
    /// Where the next request records begin.
    pub cursor: Option<u64>,
    /// Newest sample of the metrics.
    pub fresh_at: Millis,
    /// Newest request.
    pub traffic_at: Millis,
    /// The config itself failed something: it will be blocked.
    pub blamed: bool,
    /// What is left to do after the end.
    pub closing: Vec<Action>,
    /// Everything that happened, oldest first.
    pub transitions: Vec<Transition>,
    /// Planned at.
    pub started: Millis,
    /// Last call of `step`.
    pub updated: Millis,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transition {
    /// When.
    pub at: Millis,
    /// Name of the state before.
    pub from: String,
    /// Name of the state after; the same when only something was noted.
    pub to: String,
    /// Why.
    pub why: String,
}

/// The rollout stands still and keeps its weights; alarms still roll back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hold {
    /// Since when.
    pub since: Millis,
    /// What kind.
    pub kind: HoldKind,
    /// Why.
    pub reason: String,
}

/// What ends a hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HoldKind {
    /// A person's order ends it.
    Paused,
    /// Stable is in trouble too; a person's order ends it.
    Incident,
    /// Fresh samples end it.
    MetricsLost,
    /// Requests end it.
    NoTraffic,
}

impl Record {
    /// A rollout that was decided and not begun.
    ///
    /// Errors: every way in which [`validate`] refuses the plan.
    pub fn planned(start: Start, now: Millis) -> Result<Self, Error> {
        validate(&start.plan, start.stable.len())?;
        Ok(Self {
            id: start.id,
            deployment: start.deployment,
            proposal: start.proposal,
            plan: start.plan,
            provenance: start.provenance,
            stable: start.stable,
            stable_config: start.stable_config,
            canary: start.canary,
            salt: start.salt,
            state: RolloutState::Planned,
            held_from: None,
            hold: None,
            generation: start.generation,
            generation_before: start.generation,
            generation_seen: start.generation,
            percent: 0.0,
            percent_in_force: 0.0,
            exposed: false,
            foreign: false,
            frozen: None,
            evidence: None,
            steps: Vec::new(),
            step_ttft: BTreeMap::new(),
            judged_ms: 0,
            canary_failures: 0,
            requests_failed: 0,
            streams_cut: 0,
            cursor: None,
            fresh_at: now,
            traffic_at: now,
            blamed: false,
            closing: Vec::new(),
            transitions: Vec::new(),
            started: now,
            updated: now,
        })
    }

    /// Nothing more will happen by itself, and nothing is left to do.
    pub fn is_finished(&self) -> bool {
        self.is_over() && self.closing.is_empty()
    }

    /// It is decided; what is left only tidies up.
    pub fn is_over(&self) -> bool {
        matches!(self.state, RolloutState::Done | RolloutState::RolledBack { .. })
    }

    /// Canary share of the plan at `step`, 0–100.
    pub(super) fn percent_of(&self, step: usize) -> f64 {
        self.plan.steps_percent.get(step).copied().unwrap_or(100.0)
    }

    /// Moves to `state` and writes down why.
    pub(super) fn enter(&mut self, state: RolloutState, why: impl Into<String>, now: Millis) {
        let from = state_name(&self.state).to_owned();
        let to = state_name(&state).to_owned();
        self.transitions.push(Transition { at: now, from, to, why: why.into() });
        self.state = state;
    }

    /// Writes down something that changes no state.
    pub(super) fn note(&mut self, what: impl Into<String>, now: Millis) {
        let name = state_name(&self.state).to_owned();
        self.transitions.push(Transition {
            at: now,
            from: name.clone(),
            to: name,
            why: what.into(),
        });
    }
}

/// The state's name in records: `observing`.
pub(super) fn state_name(state: &RolloutState) -> &'static str {
    match state {
        RolloutState::Planned => "planned",
        RolloutState::Locked => "locked",
        RolloutState::Preflight => "preflight",
        RolloutState::Provisioning => "provisioning",
        RolloutState::Warming => "warming",
        RolloutState::Shifting { .. } => "shifting",
        RolloutState::Observing { .. } => "observing",
        RolloutState::Draining { .. } => "draining",
        RolloutState::Soak { .. } => "soak",
        RolloutState::Done => "done",
        RolloutState::RollingBack { .. } => "rolling_back",
        RolloutState::RolledBack { .. } => "rolled_back",
        RolloutState::NeedsHuman { .. } => "needs_human",
    }
}
