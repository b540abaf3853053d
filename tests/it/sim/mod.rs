//! Behaviour of `sim` through its public door.
