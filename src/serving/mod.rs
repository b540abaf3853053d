//! Serving engines behind traits: their dialects, their pages, how they are started, how traffic reaches them.
//!
//! The simulated fleet implements the same traits; nothing above this room can tell which it talks to.

mod client_tap;
mod dialect;
mod embedded;
mod error;
pub mod exposition;
mod external;
mod flag_diff;
mod flags;
pub mod gpu;
mod histogram;
mod history;
mod http;
pub mod process;
mod scraped;
mod sglang;
pub mod simulated;
mod since_start;
mod tgi;
mod traits;
mod vllm;
mod window;

pub use dialect::{DIALECTS, dialect, engine_of};
pub use embedded::EmbeddedProxy;
pub use error::Error;
pub use external::advice;
pub use flag_diff::flag_diff;
pub use history::PageHistory;
pub use http::http_client;
pub use scraped::{Backends, ScrapeOptions, Scraped};
pub use sglang::Sglang;
pub use since_start::since_start;
pub use tgi::Tgi;
pub use traits::{
    Dialect, GpuProbe, Health, Launch, Launcher, LoadDriver, LoadSpec, Observe, ObserveContext,
    Page, Purpose, Reach, Running, SeriesPoint, Target, TrafficPlane,
};
pub use vllm::Vllm;
