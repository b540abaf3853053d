//! Behaviour of `api` through its public door: a server on a free port, asked over HTTP.

mod attacks;
mod checkpoints;
mod deploying;
mod document;
mod editing;
mod examples;
mod families;
mod forgetting;
mod langgraph;
mod mcp;
mod mcp_keys;
mod optimizing;
mod orchestrator;
mod orchestrator_answers;
mod own_threads;
mod refusals;
mod resources;
mod restarts;
mod rollouts;
mod running;
mod same_answers;
mod same_looks;
mod security;
mod seed;
pub mod support;
mod tour;
mod wakes;
