//! Behaviour of `serving` through its public door.

mod dialects;
mod external;
mod flags;
mod gpus;
mod history;
mod material;
mod process_launcher;
mod real_series;
mod real_vllm;
mod scraped;
pub mod simulated;
