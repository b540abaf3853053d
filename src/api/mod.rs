//! The HTTP API: one file per resource, every route in `router`, every status code in `error`.

mod body;
mod checkpoints;
mod error;
mod graphs;
mod guard;
mod health;
mod metrics;
mod middleware;
mod openapi;
mod optimize;
mod router;
mod runs;
mod server;
mod state;
mod threads;
mod tools;

pub use error::Error;
pub use openapi::document;
pub use server::{Server, ServerOptions};
