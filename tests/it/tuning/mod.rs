//! Behaviour of `tuning` through its public door.

mod fixtures;
mod judging;
