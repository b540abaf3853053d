//! LangGraph's wire protocol, spoken by its clients and by hand.

mod chatting;
mod firing;
mod kept;
pub mod nested;
mod pausing;
mod refused;
mod refusing;
mod rig;
mod stopping;
mod streaming;
mod threads;
mod trace;
mod travelling;
mod watching;
mod webhooks;
