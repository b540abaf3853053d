//! LangGraph's wire protocol, spoken by its clients and by hand.

mod kept;
mod nested;
mod pausing;
mod streaming;
mod threads;
mod trace;
mod travelling;
