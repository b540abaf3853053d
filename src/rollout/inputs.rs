//! What the world said since the last call; everything is optional, and absent means unknown.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Action;
use crate::base::Millis;
use crate::domain::{Backend, RequestRecord, RequestStats, TrafficTable};

/// Results of actions and fresh observations, for one call of [`step`](super::step).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Inputs {
    /// Requests that ended since [`Record::cursor`](super::Record), each given once.
    pub records: Vec<RequestRecord>,
    /// Where the next `records` begin; kept in the record, so that evidence and cursor are durable together.
    pub cursor: Option<u64>,
    /// The table in force; `None` when the data plane did not answer.
    pub observed: Option<TrafficTable>,
    /// The canary's health, the worst of its backends.
    pub canary_health: Option<Health>,
    /// Stable's health, the best of its backends: can users go back to it?
    pub stable_health: Option<Health>,
    /// Requests under way by backend id, for [`Action::Drain`].
    pub in_flight: BTreeMap<String, u64>,
    /// Result of [`Action::Launch`].
    pub provisioned: Option<Result<Backend, String>>,
    /// Result of [`Action::Warm`].
    pub warmed: Option<Result<(), String>>,
    /// Stable over the last minutes, to freeze thresholds from; wanted while in `preflight`.
    pub baseline: Option<RequestStats>,
    /// When the newest sample of the metrics was taken.
    pub metrics_fresh_at: Option<Millis>,
    /// What people asked for, in order.
    pub commands: Vec<Command>,
    /// Result of [`Action::Lock`].
    pub lock: Option<Lock>,
    /// Actions that were carried out since the last call; those of a finished rollout are wanted.
    pub performed: Vec<Action>,
}

/// Whether a server can take requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum Health {
    /// It can.
    Healthy,
    /// One check failed; three in a row are as good as down.
    Failing {
        /// What the check said.
        reason: String,
    },
    /// Its process ended, or it ran out of memory.
    Down {
        /// Its last words.
        reason: String,
    },
}

/// Who holds the deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum Lock {
    /// This rollout.
    Granted,
    /// Someone else; this rollout waits.
    Held {
        /// Who.
        by: String,
    },
}

/// An order of a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// What to do.
    pub order: Order,
    /// Who said so; kept in the transitions.
    pub by: String,
    /// The generation its sender looked at: the order is refused when the rollout has moved on. `None`: whatever it is.
    pub generation: Option<u64>,
}

/// What a person can order. No order overrules an alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Hold the weights; alarms still roll back.
    Pause,
    /// Go on after a pause or a question; the clock of the share begins anew.
    Resume,
    /// Go on to the next share without waiting; the last share still needs its proof.
    Skip,
    /// Go to the last share now, proven or not: waits are skipped, and the proof. What speaks against the canary is not.
    Promote,
    /// Roll back.
    Abort,
}
