//! The simulated fleet: servers, users and a data plane in virtual time, behind the same traits as real ones.
//!
//! It is a deterministic function of its spec and of what was done to it when, so a journal of actions is all it needs to
//! be there again after the agent was killed.

mod action;
mod assign;
mod backend;
mod clock;
mod driver;
mod fleet;
mod histogram;
mod journal;
mod launcher;
mod observe;
mod page;
mod sessions;
mod spec;
mod traffic;
mod world;

pub use spec::{AppliesTo, Fault, Traffic, WorldSpec};
pub use world::World;
