//! Behaviour of `agent` through its public door.
