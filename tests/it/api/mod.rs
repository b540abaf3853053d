//! Behaviour of `api` through its public door.
