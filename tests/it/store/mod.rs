//! Behaviour of `store` through its public door.
