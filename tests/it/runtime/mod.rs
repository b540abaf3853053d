//! Behaviour of `runtime` through its public door.
