//! Whether to try again, and after how long: a function of the failure, never an act.

use super::failure::Failure;
use crate::base::Rng;

/// Longest pause that a call waits through itself [ms]; a longer one is the runtime's to wait.
pub(super) const PAUSE_MS_MAX: u64 = 30_000;

/// First pause when the server names none [ms]; it doubles with each retry.
const BACKOFF_MS: u64 = 500;
/// Longest of those [ms].
const BACKOFF_MS_MAX: u64 = 8_000;
/// Most that is added to a pause the server named, so that many callers do not return at once [ms].
const SPREAD_MS: f64 = 250.0;

/// What to do about a failure.
#[derive(Debug, PartialEq)]
pub(super) enum Next {
    /// Ask again after this pause [ms].
    Again { pause_ms: u64 },
    /// Give up.
    Stop,
}

/// Decides after the `retries_done`-th retry failed too; 0 after the first attempt.
pub(super) fn next(
    failure: &Failure,
    retries_done: u32,
    retries_max: u32,
    rng: &mut dyn Rng,
) -> Next {
    let asked_ms = match failure {
        Failure::RateLimited { retry_after_ms } | Failure::Transient { retry_after_ms, .. } => {
            *retry_after_ms
        }
        Failure::Silent { .. } => None,
        _ => return Next::Stop,
    };
    if retries_done >= retries_max || asked_ms.is_some_and(|ms| ms > PAUSE_MS_MAX) {
        return Next::Stop;
    }
    let pause_ms = match asked_ms {
        Some(ms) => ms + (rng.unit() * SPREAD_MS) as u64,
        None => backoff_ms(retries_done, rng),
    };
    Next::Again { pause_ms }
}

/// Exponential with equal jitter: half is sure, half is drawn.
///
/// Source: AWS Architecture Blog, "Exponential Backoff And Jitter" (2015), "Equal Jitter".
fn backoff_ms(retries_done: u32, rng: &mut dyn Rng) -> u64 {
    let full = BACKOFF_MS.saturating_mul(1 << retries_done.min(10)).min(BACKOFF_MS_MAX);
    full / 2 + (rng.unit() * (full / 2) as f64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::SeededRng;
    use proptest::prelude::*;

    fn limited(retry_after_ms: Option<u64>) -> Failure {
        Failure::RateLimited { retry_after_ms }
    }

    #[test]
    fn a_named_pause_is_kept_and_a_long_one_is_not_waited_for() {
        let mut rng = SeededRng::new(1);
        let Next::Again { pause_ms } = next(&limited(Some(7_000)), 0, 3, &mut rng) else {
            panic!()
        };
        assert!((7_000..=7_250).contains(&pause_ms));
        assert_eq!(next(&limited(Some(7_200_000)), 0, 3, &mut rng), Next::Stop);
    }

    #[test]
    fn what_can_never_pass_is_not_tried_again() {
        let mut rng = SeededRng::new(1);
        for failure in [
            Failure::Unauthorized { status: 401 },
            Failure::QuotaExhausted,
            Failure::TooLarge { detail: String::new() },
            Failure::Refused { status: 400, detail: String::new() },
            Failure::unusable(""),
        ] {
            assert_eq!(next(&failure, 0, 3, &mut rng), Next::Stop, "{failure:?}");
        }
    }

    proptest! {
        #[test]
        fn never_earlier_than_asked_never_beyond_the_cap(
            asked in proptest::option::of(0_u64..100_000), done in 0_u32..40, seed: u64,
        ) {
            let mut rng = SeededRng::new(seed);
            if let Next::Again { pause_ms } = next(&limited(asked), done, 20, &mut rng) {
                prop_assert!(done < 20);
                prop_assert!(pause_ms >= asked.unwrap_or(BACKOFF_MS / 2));
                prop_assert!(pause_ms <= PAUSE_MS_MAX + SPREAD_MS as u64);
            }
        }
    }
}
