//! Behaviour of `proxy` through its public door.
