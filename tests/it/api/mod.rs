//! Behaviour of `api` through its public door: a server on a free port, asked over HTTP.

mod attacks;
mod checkpoints;
mod document;
mod langgraph;
mod mcp;
mod optimizing;
mod orchestrator;
mod refusals;
mod resources;
mod restarts;
mod running;
mod same_answers;
mod security;
mod seed;
pub mod support;
