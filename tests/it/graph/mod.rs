//! Behaviour of `graph` through its public door.
