//! Behaviour of `tuning` through its public door.

mod confusion;
mod diagnosis;
mod fixtures;
mod formulas;
mod injected;
mod judging;
mod legality;
mod real_series;
mod rules;
mod search;
