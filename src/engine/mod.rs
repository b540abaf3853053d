//! Wakes threads at least once, across restarts.

mod local;

pub use local::{Local, Rest};
