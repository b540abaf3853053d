//! Behaviour of `tools` through its public door.
