//! Behaviour of `serving` through its public door.
