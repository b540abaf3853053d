//! Diagnosis rules, legality of a config, search: pure.
//!
//! [`diagnose`] names what holds a deployment back, [`search`] explores configs in the simulator, [`judge`] says whether
//! a measured trial is better, and [`guards`] what its rollout must watch. No clock, no async, no randomness beyond seeds.

mod capacity;
mod diagnosis;
mod error;
mod forecast;
pub mod formulas;
mod guards;
mod judge;
pub mod legality;
mod moves;
mod profile;
mod rules;
mod score;
mod screening;
mod search;
mod setting;
mod shortlist;
mod space;
mod statistic;
mod trade;
mod twin;
mod wording;

pub use capacity::{CapacityPlan, plan_capacity};
pub use diagnosis::diagnose;
pub use error::Error;
pub use guards::guards;
pub use judge::{Judgement, REQUESTS_MIN, best_unmeasured, choose, judge};
pub use legality::Violation;
pub use moves::{may_change_quality, proposal};
pub use profile::profile_of;
pub use rules::propose_by_rules;
pub use screening::Round;
pub use search::{SearchBudget, SearchRequest, SearchResult, search, search_until};
pub use twin::predict;
