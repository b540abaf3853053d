//! Serving engines behind traits: their dialects, their pages, how they are started, how traffic reaches them.
//!
//! The simulated fleet implements the same traits; nothing above this room can tell which it talks to.

mod embedded;
mod error;
mod traits;

pub use embedded::EmbeddedProxy;
pub use error::Error;
pub use traits::{
    Dialect, GpuProbe, Health, Launch, Launcher, LoadDriver, LoadSpec, Observe, ObserveContext,
    Page, Purpose, Running, SeriesPoint, Target, TrafficPlane,
};
