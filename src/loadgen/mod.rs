//! Load against an OpenAI-compatible endpoint: open loop, streaming, the same requests for the same seed.

mod capacity;
mod client;
mod error;
mod options;
mod prompt;
mod report;
mod run;
mod schedule;

pub use capacity::{Capacity, Ladder, Rung, capacity};
pub use error::Error;
pub use options::{LoadOptions, Sessions};
pub use report::{LoadReport, meets, share_within};
pub use run::run;
pub use schedule::{Arrival, schedule};
