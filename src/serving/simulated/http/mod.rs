//! One simulated engine as a server: the requests and answers of a vLLM server, at the simulated times, on a real clock.
//!
//! A task owns the replica and lets it live with the wall clock (`drive`); handlers hand it requests and pass on what
//! it reports (`routes`, `stream`). A world's users, faults, warm-up and start-up time play no part here: the server
//! is up at once and its users are whoever connects. `speed` shortens every wait; the page keeps counting in simulated
//! seconds, so it agrees with what clients measure at speed 1.

mod answer;
mod ask;
mod drive;
mod engine;
mod failure;
mod prompt;
mod routes;
mod serve;
mod stream;

pub use serve::serve;
