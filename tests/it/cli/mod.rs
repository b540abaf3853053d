//! Behaviour of the command line: what is printed, and the exit codes that scripts rely on.

mod advised;
mod bad_input;
mod commands;
mod contract;
mod graph_cases;
mod graphs;
mod help;
mod keys;
mod scenarios;
mod serving;
mod signals;
mod store;
pub mod support;
mod trouble;
