//! Performance Agent: makes LLM servers faster without ever hurting a user.
//!
//! The code map, in reading order. Who may import whom: `ARCHITECTURE.md`, enforced by `tests/it/layers.rs`.

// The machine: any state graph.
pub mod base;
pub mod engine;
pub mod graph;
pub mod runtime;
pub mod store;

// The trade: LLM serving.
pub mod domain;
pub mod llm;
pub mod loadgen;
pub mod proxy;
pub mod rollout;
pub mod serving;
pub mod sim;
pub mod tools;
pub mod tuning;

// Where both meet.
pub mod agent;
pub mod expert;
pub mod nodes;

// Edges.
pub mod api;
pub mod cli;
