//! Diagnosis rules, legality of a config, search: pure.
//!
//! [`diagnose`] names what holds a deployment back, [`judge`] says whether a measured trial is better, and [`guards`] what
//! its rollout must watch. No clock, no async, no randomness beyond seeds.

mod diagnosis;
pub mod formulas;
mod guards;
mod judge;
pub mod legality;
mod moves;
mod profile;
mod rules;
mod setting;
mod statistic;
mod trade;
mod wording;

pub use diagnosis::diagnose;
pub use guards::guards;
pub use judge::{Judgement, REQUESTS_MIN, choose, judge};
pub use legality::Violation;
pub use profile::profile_of;
pub use rules::propose_by_rules;
