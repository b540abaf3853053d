//! LangGraph's wire protocol, spoken by its clients and by hand.

mod kept;
mod nested;
mod pausing;
mod refusing;
mod streaming;
mod threads;
mod trace;
mod travelling;
