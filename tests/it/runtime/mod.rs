//! Behaviour of `runtime` through its public door.

mod cancel;
mod crash;
mod failures;
pub mod interrupts;
mod reducers;
mod supersteps;
pub mod support;
mod time;
