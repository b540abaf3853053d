//! The simulated fleet through its public door.

mod clock;
mod durability;
mod fleet;
mod http;
mod http_client;
mod observing;
mod pages;
pub mod support;
mod traffic;
