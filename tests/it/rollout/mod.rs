//! Behaviour of `rollout` through its public door.

mod blue_green;
mod commands;
mod faults;
mod laws;
mod planning;
mod statistics;
mod walk;
mod world;
