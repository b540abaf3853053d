//! The one integration-test binary: behaviour through public doors.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

mod agent;
mod api;
mod cli;
mod crash;
mod engine;
mod errors;
mod graph;
mod layers;
mod lessons;
mod llm;
mod loadgen;
mod log;
mod material;
mod proxy;
mod rollout;
mod runtime;
mod serving;
mod sim;
mod simulation;
mod store;
mod tools;
mod tuning;
