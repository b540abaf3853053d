//! The HTTP API: one file per resource, every route in `router`, every status code in `error`.

mod analysis;
mod body;
mod checkpoints;
mod deployments;
mod documented;
mod error;
mod explorer;
mod graphs;
mod guard;
mod health;
mod langgraph;
mod mcp;
mod measurements;
mod metrics;
mod middleware;
mod openapi;
mod optimize;
mod orchestrator;
mod outbound;
mod params;
mod prompts;
mod rollouts;
mod router;
mod seed;
mod server;
mod state;
mod tasks;
mod tools;
mod trials;

pub use error::Error;
pub use mcp::{McpAccess, serve_mcp};
pub use openapi::document;
pub use orchestrator::OrchestratorOptions;
pub use server::{Server, ServerOptions};
