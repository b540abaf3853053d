//! The HTTP API: one file per resource, every route in `router`, every status code in `error`.

mod analysis;
mod body;
mod checkpoints;
mod codes;
mod connections;
mod deployments;
mod documented;
mod error;
mod examples;
mod explorer;
mod families;
mod graphs;
mod guard;
mod health;
mod keys;
mod langgraph;
mod mcp;
mod measurements;
mod metrics;
mod middleware;
mod migrations;
mod openapi;
mod optimize;
mod orchestrator;
mod params;
mod precondition;
mod prompts;
mod recommendations;
mod rollout_start;
mod rollouts;
mod router;
mod schemas;
mod security;
mod seed;
mod server;
mod state;
mod tasks;
mod threads;
mod tools;
mod trials;

pub use error::Error;
pub use mcp::{McpAccess, serve_mcp};
pub use openapi::document;
pub use orchestrator::OrchestratorOptions;
pub use security::{
    AuditEntry, CallOutcome, Key, Keys, Limits, NewKey, Outbound, Resolve, Scope, SecurityOptions,
    TlsFiles, Who,
};
pub use server::{Server, ServerOptions};
