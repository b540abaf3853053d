//! Which arm serves a session: one hash, so a growing weight moves each session at most once.

use crate::base::stable_hash;
use crate::domain::{Arm, TrafficTable};

/// A session under one salt, as the proxy places it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Place {
    /// Hash of salt and session, 32 hex digits.
    pub(super) session: String,
    /// Uniform in [0, 1): canary iff below the canary's share.
    pub(super) u: f64,
    /// Bits that `u` does not use, for the choice among an arm's backends.
    pub(super) spread: u64,
}

impl Place {
    /// The place of a session.
    pub(super) fn of(salt: &str, session: &str) -> Self {
        let hash = stable_hash(&[salt, session]);
        let half = |digits: &str| u64::from_str_radix(digits, 16).unwrap_or(0);
        let (high, spread) = (half(&hash[..16]), half(&hash[16..]));
        // 53 bits: every value is exact in an f64.
        Self { u: (high >> 11) as f64 / (1_u64 << 53) as f64, spread, session: hash }
    }

    /// The arm it is dealt at a canary share, 0–1.
    pub(super) fn arm(&self, share: f64) -> Arm {
        if self.u < share { Arm::Canary } else { Arm::Stable }
    }
}

/// The canary's share of sessions, 0–1; 0 without a canary.
pub(super) fn share(table: &TrafficTable) -> f64 {
    let there = table.canary.as_ref().is_some_and(|arm| !arm.backends.is_empty());
    if there { (table.canary_percent / 100.0).clamp(0.0, 1.0) } else { 0.0 }
}

/// The backends a session tries in turn, with their arms: those of its own arm, then stable's.
pub(super) fn tries<'a>(table: &'a TrafficTable, place: &Place, arm: Arm) -> Vec<(Arm, &'a str)> {
    let of = |arm: Arm| {
        let backends = match (arm, &table.canary) {
            (Arm::Canary, Some(canary)) => canary.backends.as_slice(),
            (Arm::Canary, None) => &[],
            (Arm::Stable, _) => table.stable.backends.as_slice(),
        };
        let first = place.spread.checked_rem(backends.len() as u64).unwrap_or(0) as usize;
        let (before, from) = backends.split_at(first);
        from.iter().chain(before).map(move |backend| (arm, backend.id.as_str()))
    };
    match arm {
        Arm::Canary => of(Arm::Canary).chain(of(Arm::Stable)).collect(),
        Arm::Stable => of(Arm::Stable).collect(),
    }
}
