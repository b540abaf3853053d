//! Groq and every other server that speaks the OpenAI chat protocol.

mod answer;
mod arguments;
mod assembly;
mod calls;
mod chunk;
mod client;
mod endpoint;
mod failure;
mod pause;
mod price;
mod probe;
mod redact;
mod request;
mod retry;
mod schema;
mod transport;

pub use client::{OpenAi, OpenAiOptions};
pub use probe::Probe;
