//! Simulated time as whole picoseconds.
//!
//! Whole numbers add up to the same sum in any order, so a run of a thousand steps done in one go ends at exactly the
//! moment it ends at when done step by step.

/// A moment since the replica's start, or a duration [ps]. 2⁶⁴ ps are 213 days.
pub(super) type Ps = u64;

const PS_PER_S: f64 = 1e12;

/// Seconds as picoseconds; negative is 0, beyond the end of time is its end.
pub(super) fn ps(seconds: f64) -> Ps {
    // `as` saturates, and maps NaN to 0.
    (seconds * PS_PER_S).round() as Ps
}

/// Picoseconds as seconds.
pub(super) fn seconds(ps: Ps) -> f64 {
    ps as f64 / PS_PER_S
}
