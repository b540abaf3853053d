//! Behaviour of `api` through its public door: a server on a free port, asked over HTTP.

mod attacks;
mod checkpoints;
mod deploying;
mod document;
mod editing;
mod examples;
mod families;
mod langgraph;
mod mcp;
mod optimizing;
mod orchestrator;
mod refusals;
mod reporting;
mod resources;
mod restarts;
mod rollouts;
mod running;
mod same_answers;
mod security;
mod seed;
pub mod support;
mod tour;
