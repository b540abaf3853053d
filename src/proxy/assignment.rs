//! Who goes where: a pure function of the salt, the session and the weight.

use crate::base::stable_hash;
use crate::domain::Arm;

/// A session under one salt: its place on the unit interval, which never changes while the salt stays.
#[derive(Debug, Clone, PartialEq)]
pub struct Place {
    /// Hash of salt and session key, 32 hex digits. Another salt gives unlinkable ones.
    pub session: String,
    /// Uniform in [0, 1).
    pub u: f64,
    /// 64 bits of the hash that `u` does not use, for the choice among an arm's backends.
    pub spread: u64,
}

impl Place {
    /// The place of the session with `key`.
    pub fn of(salt: &str, key: &str) -> Self {
        let session = stable_hash(&[salt, key]);
        let half = |digits: &str| u64::from_str_radix(digits, 16).unwrap_or(0);
        let (high, spread) = (half(&session[..16]), half(&session[16..]));
        // 53 bits: every value is exact in an f64.
        Self { u: (high >> 11) as f64 / (1_u64 << 53) as f64, spread, session }
    }

    /// Canary exactly when `u` lies below the weight, 0–1. So a growing weight only ever moves sessions to
    /// the canary, and each session once.
    pub fn arm(&self, canary_weight: f64) -> Arm {
        if self.u < canary_weight { Arm::Canary } else { Arm::Stable }
    }
}

/// Order in which a session tries backends, best first: highest random weight. When one backend leaves, only
/// its own sessions move.
///
/// Source: Thaler and Ravishankar, "Using name-based mappings to increase hit rates" (1998).
pub fn rank(spread: u64, backends: impl Iterator<Item = u64>) -> Vec<usize> {
    let mut order: Vec<(u64, usize)> =
        backends.enumerate().map(|(index, hash)| (mix(spread ^ hash), index)).collect();
    order.sort_unstable_by(|a, b| b.cmp(a));
    order.into_iter().map(|(_, index)| index).collect()
}

/// The finalizer of SplitMix64: every input bit reaches every output bit.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_growing_weight_never_sends_a_session_back(
            key in "[a-z0-9]{1,12}", low in 0.0..1.0_f64, more in 0.0..1.0_f64,
        ) {
            let place = Place::of("salt", &key);
            let high = low + (1.0 - low) * more;
            if place.arm(low) == Arm::Canary {
                prop_assert_eq!(place.arm(high), Arm::Canary);
            }
            prop_assert_eq!(place.arm(0.0), Arm::Stable);
            prop_assert_eq!(place.arm(1.0), Arm::Canary);
        }

        #[test]
        fn when_a_backend_leaves_only_its_own_sessions_move(spread: u64, hashes in prop::collection::vec(any::<u64>(), 2..6)) {
            let best = rank(spread, hashes.iter().copied())[0];
            let last = hashes.len() - 1;
            if best != last {
                prop_assert_eq!(rank(spread, hashes[..last].iter().copied())[0], best);
            }
        }
    }

    #[test]
    fn the_share_of_sessions_is_the_weight() {
        let on_canary = |weight: f64| {
            let places = (0..20_000).map(|i| Place::of("r1", &format!("user-{i}")));
            places.filter(|place| place.arm(weight) == Arm::Canary).count() as f64 / 20_000.0
        };
        for weight in [0.05, 0.25, 0.5] {
            // Four standard deviations of a binomial share.
            let tolerance = 4.0 * (weight * (1.0 - weight) / 20_000.0_f64).sqrt();
            assert!((on_canary(weight) - weight).abs() < tolerance, "{weight}");
        }
    }

    #[test]
    fn another_salt_deals_sessions_anew() {
        let both = (0..10_000)
            .filter(|i| {
                let key = format!("user-{i}");
                Place::of("r1", &key).u < 0.5 && Place::of("r2", &key).u < 0.5
            })
            .count();
        assert!((both as f64 / 10_000.0 - 0.25).abs() < 0.02, "independent salts: {both}");
    }

    #[test]
    fn sessions_spread_evenly_over_the_backends_of_an_arm() {
        let mut counts = [0_u32; 3];
        for i in 0..9_000 {
            let place = Place::of("r1", &format!("user-{i}"));
            counts[rank(place.spread, [11, 22, 33].into_iter())[0]] += 1;
        }
        assert!(counts.iter().all(|&count| (2_800..3_200).contains(&count)), "{counts:?}");
    }
}
