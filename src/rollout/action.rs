//! What has to be done next, as data; whoever performs it decides how.

use serde::{Deserialize, Serialize};

use super::Record;
use crate::base::{EffectKey, Millis, RolloutId};
use crate::domain::{Backend, RolloutState, ServingConfig, TrafficTable};

/// One side effect. Each is idempotent: doing it again after a crash changes nothing.
///
/// Perform them in the order given and stop at the first that fails: the next call asks for it again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "action", deny_unknown_fields)]
pub enum Action {
    /// Take the deployment's lock; answer with `Inputs::lock`.
    Lock {
        /// Deployment.
        deployment: String,
        /// Holder.
        rollout: RolloutId,
    },
    /// Start the new version; answer with `Inputs::provisioned`. One key per rollout, so never a second server.
    Launch {
        /// Idempotency key.
        key: EffectKey,
        /// Config.
        config: ServingConfig,
    },
    /// Send prompts of every shape until TTFT settles, and check the model; answer with `Inputs::warmed`.
    Warm {
        /// The canary.
        backend: Backend,
    },
    /// Put a table in force; answer with `Inputs::observed`, read back.
    Apply {
        /// The table.
        table: TrafficTable,
    },
    /// Keep the table's lease alive.
    Renew,
    /// Wait for requests under way; answer with `Inputs::in_flight`.
    Drain {
        /// Backend ids that get no new requests.
        backends: Vec<String>,
        /// Not longer than this.
        deadline: Millis,
    },
    /// Record that a server now serves users for good.
    Assign {
        /// Backend id.
        backend: String,
    },
    /// End a drained server.
    Stop {
        /// Backend id.
        backend: String,
    },
    /// End whatever server this key may have started: the rollout ended before it was known.
    Discard {
        /// Idempotency key of the launch.
        key: EffectKey,
    },
    /// Remember that this config failed, so that nobody proposes it again soon.
    Block {
        /// Fingerprint of the config.
        fingerprint: String,
        /// What it failed.
        reason: String,
    },
    /// Give the deployment's lock back.
    Unlock {
        /// Deployment.
        deployment: String,
        /// Holder.
        rollout: RolloutId,
    },
}

/// The actions that the state of `record` requires, whether or not they were begun: what to do after a crash.
pub fn pending(record: &Record) -> Vec<Action> {
    match &record.state {
        RolloutState::Planned => vec![record.lock()],
        RolloutState::Locked | RolloutState::Preflight => Vec::new(),
        RolloutState::Provisioning => vec![Action::Launch {
            key: record.launch_key(),
            config: record.proposal.config.clone(),
        }],
        RolloutState::Warming => {
            record.canary.iter().map(|backend| Action::Warm { backend: backend.clone() }).collect()
        }
        RolloutState::Shifting { .. } => vec![Action::Apply { table: record.table() }],
        RolloutState::Observing { since, .. } => {
            let drains = record.evidence.as_ref().is_some_and(|seen| seen.old_version_works());
            let drain = drains.then(|| record.drain(&record.stable, *since));
            std::iter::once(Action::Renew).chain(drain).collect()
        }
        RolloutState::Soak { .. } => vec![Action::Renew],
        RolloutState::Draining { since } => {
            vec![Action::Renew, record.drain(&record.stable, *since)]
        }
        RolloutState::RollingBack { since, .. } => {
            let drain = record.drain(record.canary.as_slice(), *since);
            vec![Action::Apply { table: record.table() }, drain]
        }
        // Someone else's table has no lease of ours to renew.
        RolloutState::NeedsHuman { .. } if record.exposed && !record.foreign => vec![Action::Renew],
        RolloutState::NeedsHuman { .. } => Vec::new(),
        RolloutState::Done | RolloutState::RolledBack { .. } => record.closing.clone(),
    }
}

impl Record {
    fn lock(&self) -> Action {
        Action::Lock { deployment: self.deployment.clone(), rollout: self.id.clone() }
    }

    pub(super) fn unlock(&self) -> Action {
        Action::Unlock { deployment: self.deployment.clone(), rollout: self.id.clone() }
    }

    /// The key of the one launch of this rollout.
    pub(super) fn launch_key(&self) -> EffectKey {
        let fingerprint = self.proposal.config.fingerprint();
        EffectKey(crate::base::stable_hash(&["rollout.launch", self.id.as_str(), &fingerprint]))
    }

    fn drain(&self, backends: &[Backend], since: Millis) -> Action {
        Action::Drain {
            backends: backends.iter().map(|backend| backend.id.clone()).collect(),
            deadline: since.plus(self.plan.drain_max_ms),
        }
    }
}
