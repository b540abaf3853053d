//! Behaviour of the command line: what is printed, and the exit codes that scripts rely on.

mod bad_input;
mod help;
mod scenarios;
pub mod support;
