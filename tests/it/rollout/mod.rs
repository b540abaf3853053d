//! Behaviour of `rollout` through its public door.
