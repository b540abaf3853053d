//! The traffic tables of a rollout, and whether the one in force is ours.

use super::Record;
use crate::domain::{Arm, ArmWeight, RolloutState, TrafficTable};

/// Without a renewal for this long the data plane returns everyone to stable by itself [ms].
const LEASE_MS: u64 = 120_000;

/// What the table in force means.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum InForce {
    /// Exactly what was asked for.
    Ours,
    /// What was in force before: the last table has not arrived yet.
    Behind,
    /// The data plane returned everyone to stable because nobody renewed the lease.
    LeaseExpired,
    /// Somebody else changed it.
    Foreign(String),
}

impl Record {
    /// The table that the present state wants in force.
    pub(super) fn table(&self) -> TrafficTable {
        let over = matches!(self.state, RolloutState::RollingBack { .. }) || self.percent == 0.0;
        TrafficTable {
            generation: self.generation,
            salt: self.salt.clone(),
            stable: ArmWeight { arm: Arm::Stable, backends: self.stable.clone() },
            canary: self
                .canary
                .clone()
                .map(|backend| ArmWeight { arm: Arm::Canary, backends: vec![backend] }),
            canary_percent: self.percent,
            // Stable for everyone is what an expired lease would lead to anyway.
            lease_ms: (!over).then_some(LEASE_MS),
        }
    }

    /// The table that stays after the end: one arm, no lease.
    pub(super) fn final_table(&self) -> TrafficTable {
        let promoted = matches!(self.state, RolloutState::Done);
        let canary = self.canary.iter().filter(|_| promoted).cloned().collect::<Vec<_>>();
        let backends = if canary.is_empty() { self.stable.clone() } else { canary };
        TrafficTable {
            generation: self.generation,
            salt: self.salt.clone(),
            stable: ArmWeight { arm: Arm::Stable, backends },
            canary: None,
            canary_percent: 0.0,
            lease_ms: None,
        }
    }

    /// Compares the table in force with the one that was asked for.
    pub(super) fn judge(&self, observed: &TrafficTable) -> InForce {
        let wanted = self.table();
        if observed == &wanted {
            return InForce::Ours;
        }
        let same_stable = observed.salt == wanted.salt && observed.stable == wanted.stable;
        let reverted = observed.generation > self.generation_before
            && observed.generation <= wanted.generation.saturating_add(1)
            && observed.canary_percent == 0.0
            && observed.lease_ms.is_none();
        if same_stable && reverted && wanted.canary_percent > 0.0 {
            return InForce::LeaseExpired;
        }
        if observed.generation < wanted.generation {
            return InForce::Behind;
        }
        InForce::Foreign(format!(
            "the data plane holds generation {} with {} % canary, expected generation {} with {} %",
            observed.generation, observed.canary_percent, wanted.generation, wanted.canary_percent
        ))
    }
}
