//! The data plane: a weighted, sticky, streaming reverse proxy in a process of its own.
//!
//! It obeys a [`TrafficTable`](crate::domain::TrafficTable) that it is given over a Unix socket, and reports every
//! request it served as a [`RequestRecord`](crate::domain::RequestRecord). Nobody's stream depends on the agent's life.

mod assignment;
mod backends;
mod body;
mod control;
mod error;
mod flight;
mod forward;
mod headers;
mod lease;
mod metrics;
mod options;
mod recorder;
mod request_body;
mod routing;
mod server;
mod session_key;
mod sessions;
mod state_file;
mod upstream;

pub use error::Error;
pub use options::ProxyOptions;
pub use server::{Proxy, run};
