//! One file per node kind. A node touches the world only through a tool.

mod agent;
mod approval;
mod call;
mod error;
mod factory;
mod foreach;
mod scripted;
mod set;
mod tool;
mod wait;

pub use factory::{Check, Factory, Parts};
pub use scripted::ScriptedNodes;
