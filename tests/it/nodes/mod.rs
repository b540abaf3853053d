//! Behaviour of `nodes` through public doors: graph files, a scripted model, real tools on servers that are acted.

mod agent;
mod budget;
mod cancel;
mod foreach;
mod pinned;
pub mod support;
mod wait;
