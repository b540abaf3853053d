//! The simulated fleet through its public door.

mod clock;
mod durability;
mod fleet;
mod observing;
mod pages;
mod support;
mod traffic;
