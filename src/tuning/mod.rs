//! Diagnosis rules, legality of a config, search: pure.
//!
//! [`judge`] says whether a measured trial is better, [`choose`] picks the best, and [`guards`] what its rollout must watch.

mod guards;
mod judge;
mod statistic;
mod trade;
mod wording;

pub use guards::guards;
pub use judge::{Judgement, REQUESTS_MIN, choose, judge};
