//! Behaviour of `sim` through its public door.

mod accuracy;
mod catalogue;
mod config;
mod fit;
mod histories;
mod laws;
mod measured;
mod scheduler;
mod support;
mod workloads;
