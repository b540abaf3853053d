//! Whether and when a failed attempt is made again: pure.

use super::NodeError;
use crate::base::Rng;
use crate::graph::RetryPolicy;

/// The longest pause of the other side's that is honoured [ms]: who asks for more refuses.
const ASKED_MAX_MS: u64 = 3_600_000;

/// What to do about a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    /// The next attempt, after so long [ms].
    After(u64),
    /// No further attempt.
    Never,
    /// The next attempt would have to wait so long [ms], and there is not so much time.
    TooLate(u64),
}

/// Whether and when an attempt is made again, when the run has `left_ms` of wall time left.
///
/// Exponential from `initial_ms`, capped; with jitter uniform in [half, whole]. A pause the other side asked for
/// is never shortened, and never exceeded by jitter.
pub(super) fn again(
    policy: &RetryPolicy,
    attempt: u32,
    error: &NodeError,
    left_ms: Option<u64>,
    rng: &mut dyn Rng,
) -> Again {
    if attempt >= policy.max || !policy.on.iter().any(|class| class == error.class.name()) {
        return Again::Never;
    }
    let exponent = i32::try_from(attempt).unwrap_or(i32::MAX);
    let grown = policy.initial_ms as f64 * policy.factor.max(1.0).powi(exponent);
    let whole = grown.min(policy.cap_ms as f64);
    let drawn = if policy.jitter { whole * (0.5 + 0.5 * rng.unit()) } else { whole };
    let asked = error.retry_after_ms.unwrap_or(0);
    let pause_ms = asked.max(drawn.round() as u64);
    match asked > ASKED_MAX_MS || left_ms.is_some_and(|left_ms| pause_ms >= left_ms) {
        true => Again::TooLate(pause_ms),
        false => Again::After(pause_ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Problem, SeededRng};
    use crate::runtime::ErrorClass;

    fn policy(jitter: bool) -> RetryPolicy {
        let on = vec!["timeout".to_owned(), "rate_limited".to_owned()];
        RetryPolicy { max: 3, initial_ms: 500, factor: 2.0, cap_ms: 1_500, jitter, on }
    }

    fn failure(class: ErrorClass, retry_after_ms: Option<u64>) -> NodeError {
        let problem =
            Problem { code: "test.failure".into(), message: String::new(), hint: String::new() };
        NodeError { retry_after_ms, ..NodeError::new(class, problem) }
    }

    fn pauses(policy: &RetryPolicy, error: &NodeError) -> Vec<Option<u64>> {
        let mut rng = SeededRng::new(7);
        let mut pause = |attempt| match again(policy, attempt, error, None, &mut rng) {
            Again::After(pause_ms) => Some(pause_ms),
            Again::Never => None,
            Again::TooLate(pause_ms) => panic!("no time for {pause_ms} ms"),
        };
        (0..4).map(&mut pause).collect()
    }

    #[test]
    fn pauses_double_up_to_the_cap_and_end_after_the_last_attempt() {
        let error = failure(ErrorClass::Timeout, None);
        assert_eq!(pauses(&policy(false), &error), [Some(500), Some(1_000), Some(1_500), None]);
    }

    #[test]
    fn jitter_stays_between_half_and_whole() {
        let error = failure(ErrorClass::Timeout, None);
        let drawn: Vec<u64> = pauses(&policy(true), &error).into_iter().flatten().collect();
        for (pause, whole) in drawn.iter().zip([500, 1_000, 1_500]) {
            assert!((whole / 2..=whole).contains(pause), "{pause} of {whole}");
        }
    }

    #[test]
    fn a_pause_the_other_side_asked_for_is_kept() {
        let error = failure(ErrorClass::RateLimited, Some(9_000));
        assert_eq!(pauses(&policy(false), &error)[0], Some(9_000));
    }

    #[test]
    fn a_pause_is_not_begun_that_outlives_the_run_or_an_hour() {
        let mut rng = SeededRng::new(7);
        let mut at = |asked, left_ms| {
            let error = failure(ErrorClass::RateLimited, asked);
            again(&policy(false), 0, &error, left_ms, &mut rng)
        };
        assert_eq!(at(Some(9_000), Some(9_001)), Again::After(9_000));
        assert_eq!(at(Some(9_000), Some(9_000)), Again::TooLate(9_000));
        assert_eq!(at(None, Some(400)), Again::TooLate(500));
        assert_eq!(at(Some(3_600_000), None), Again::After(3_600_000));
        assert_eq!(at(Some(3_600_001), None), Again::TooLate(3_600_001));
    }

    #[test]
    fn a_class_the_policy_does_not_name_is_never_tried_again() {
        let error = failure(ErrorClass::Denied, None);
        assert_eq!(pauses(&policy(false), &error)[0], None);
    }
}
