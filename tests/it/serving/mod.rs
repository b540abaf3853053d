//! Behaviour of `serving` through its public door.

mod dialects;
mod flags;
mod history;
mod material;
mod real_series;
mod simulated;
