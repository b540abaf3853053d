//! Behaviour of `proxy` through its public door.

mod agent_killed;
mod assignment;
mod control;
mod failures;
pub mod fake_server;
mod harness;
mod lease;
mod passthrough;
mod ramp;
mod records;
