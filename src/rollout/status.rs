//! The record as everyone outside sees it.

use super::Record;
use crate::domain::RolloutStatus;

impl Record {
    /// What the API, the reports and the model see.
    pub fn status(&self) -> RolloutStatus {
        RolloutStatus {
            id: self.id.clone(),
            deployment: self.deployment.clone(),
            proposal: self.proposal.clone(),
            plan: self.plan.clone(),
            provenance: Some(self.provenance.clone()),
            state: self.state.clone(),
            paused: self.hold.as_ref().map(|hold| hold.reason.clone()),
            canary_percent: self.percent_in_force,
            finished: self.is_finished(),
            steps: self.steps.clone(),
            evidence: self.evidence.as_ref().map(|tests| tests.states()).unwrap_or_default(),
            requests_failed: self.requests_failed,
            streams_cut: self.streams_cut,
            started: self.started,
            updated: self.updated,
        }
    }
}
