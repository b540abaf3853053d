//! Which arm serves a session: one hash, so a growing weight moves each session at most once.

use crate::base::stable_hash;
use crate::domain::{Arm, TrafficTable};

/// Where a session lies in [0, 1): canary iff below the canary's share. The salt deals sessions anew for each rollout.
pub(super) fn place(salt: &str, session: &str) -> f64 {
    let hash = stable_hash(&["assign", salt, session]);
    let word = u64::from_str_radix(&hash[..16], 16).unwrap_or(0);
    (word >> 11) as f64 / (1_u64 << 53) as f64
}

/// The arm of a session, and the probability with which it was to be the canary.
pub(super) fn arm(table: &TrafficTable, session: &str) -> (Arm, f64) {
    let share = match &table.canary {
        Some(canary) if !canary.backends.is_empty() => table.canary_percent / 100.0,
        _ => 0.0,
    };
    let arm = if place(&table.salt, session) < share { Arm::Canary } else { Arm::Stable };
    (arm, share)
}
