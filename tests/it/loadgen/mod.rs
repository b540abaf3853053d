//! Behaviour of `loadgen` through its public door.

mod judging;
mod open_loop;
mod schedules;
