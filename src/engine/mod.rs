//! Wakes threads at least once, across restarts.

mod desk;
mod local;

pub use local::{Local, Rest};
