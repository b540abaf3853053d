//! Behaviour of `tuning` through its public door.
