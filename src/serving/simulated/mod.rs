//! The simulated fleet: servers, users and a data plane in virtual time, behind the same traits as real ones.
//!
//! It is a deterministic function of its spec and of what was done to it when, so a journal of actions is all it needs
//! to be there again after the agent was killed.

mod action;
mod assignment;
mod clock;
mod counters;
mod driver;
mod fault;
mod fleet;
mod gpus;
mod histogram;
mod history;
mod http;
mod journal;
mod launcher;
mod load;
mod observe;
mod page;
mod perform;
mod plane;
mod records;
mod server;
mod sessions;
mod spec;
mod start_up;
mod traffic;
mod truth;
mod world;

pub use self::http::serve;
pub use fault::{AppliesTo, Fault};
pub use spec::{Traffic, WorldSpec};
pub use world::World;
