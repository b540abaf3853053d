//! A discrete-event simulator of a serving engine: pure, seeded, no clock and no RNG of its own.
//!
//! Two faces of one core: `serving::simulated` runs [`Replica`]s as a live fleet in virtual time;
//! `tuning` calls [`simulate`] as a function from (config, workload) to latency distributions.

mod blocks;
mod catalogue;
mod cost;
mod replica;
mod report;
mod resolve;
mod sequence;
mod spec;
pub mod workload;

pub use catalogue::{gpu, gpus, model, models};
pub use replica::{Replica, Totals};
pub use report::{SimOptions, SimReport, simulate};
pub use spec::{
    Coefficients, Completion, EngineConfig, Observer, Refusal, ReplicaSpec, Request, Step,
};
