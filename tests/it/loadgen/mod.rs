//! Behaviour of `loadgen` through its public door.
