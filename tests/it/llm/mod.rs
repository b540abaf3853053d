//! Behaviour of `llm` through its public door.

mod answers;
mod failures;
mod leaks;
mod mock;
mod probing;
mod requests;
mod scripting;
mod streams;
