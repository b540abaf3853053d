//! Behaviour of `rollout` through its public door.

mod world;
