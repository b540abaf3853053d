//! The Model Context Protocol: the tools and the graphs for models of other programs, over HTTP and over pipes.
//!
//! `protocol` speaks it, whatever carries it; `offer` says what there is; `run` runs graphs.

pub(super) mod http;
mod offer;
mod protocol;
mod run;
mod stdio;

pub(super) use http::{Service, service};
pub use offer::McpAccess;
pub use stdio::serve_mcp;
