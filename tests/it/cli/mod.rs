//! Behaviour of `cli` through its public door.
