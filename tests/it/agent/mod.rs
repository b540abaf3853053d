//! Behaviour of `agent` through its public door: the command line.

mod config;
mod crash;
mod model;
mod served;
