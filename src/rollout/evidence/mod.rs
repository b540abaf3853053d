//! The sequential tests: valid however often one looks. Unit = session; every test speaks at e ≥ 1/α.

mod betting;
mod exceedance;
mod guard;
mod load;
mod outcome;
mod sketch;
mod whole;

pub use betting::{Comparison, Direction, Draw, LAMBDAS};
pub use exceedance::Exceedance;
pub use outcome::{Outcome, Ruler};
pub use sketch::Sketch;
pub use whole::{ALPHA, Alarm, Evidence, Frozen, Reading};
