//! Behaviour of `tuning` through its public door.

mod confusion;
mod diagnosis;
pub mod fixtures;
mod formulas;
pub mod injected;
mod judging;
mod legality;
mod real_series;
mod rules;
mod search;
