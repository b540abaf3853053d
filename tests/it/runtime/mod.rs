//! Behaviour of `runtime` through its public door.

mod branches;
mod cancel;
mod crash;
mod eager;
mod failures;
pub mod interrupts;
mod kept;
mod language;
mod reducers;
mod renames;
mod supersteps;
pub mod support;
mod time;
mod versions;
mod wall;
