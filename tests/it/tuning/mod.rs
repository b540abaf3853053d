//! Behaviour of `tuning` through its public door.

mod diagnosis;
mod fixtures;
mod formulas;
mod judging;
mod legality;
mod real_series;
mod rules;
