//! A discrete-event simulator of a serving engine: pure, seeded, no clock and no RNG of its own.
//!
//! Two faces of one core: `serving::simulated` runs [`Replica`]s as a live fleet in virtual time;
//! `tuning` calls [`simulate`] as a function from (config, workload) to latency distributions.

mod arrivals;
mod catalogue;
mod cost;
mod ensemble;
mod lengths;
mod load;
mod lockstep;
mod memory;
mod pool;
mod progress;
mod replica;
mod report;
mod resolve;
mod schedule;
mod sequence;
mod shape;
mod simulate;
mod spec;
mod speculation;
mod ticks;
mod usage;

pub use catalogue::{gpu, gpus, model, models};
pub use replica::{Replica, Totals};
pub use report::SimReport;
pub use simulate::{SimOptions, simulate};
pub use spec::{
    Coefficients, Completion, EngineConfig, Observer, Refusal, ReplicaSpec, Request, Step,
};

/// Loads: who asks what, when.
pub mod workload {
    pub use super::arrivals::{Arrivals, generate, generate_between};
    pub use super::load::{Kind, Workload};
}
