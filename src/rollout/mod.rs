//! The canary state machine and its sequential tests: `(record, inputs, now) → (record, actions)`, pure.
//!
//! [`Record`] is everything durable about one rollout. [`step`] folds what was seen since the last call
//! into it and says what to do now; the caller persists the record, performs the actions and feeds the
//! results back. [`pending`] is what the current state still requires: the same after any crash.

mod action;
mod command;
mod error;
mod evidence;
mod finish;
mod forecast;
mod inputs;
mod observe;
mod options;
mod prepare;
mod record;
mod safety;
mod status;
mod step;
mod table;

pub use action::{Action, pending};
pub use command::refusal;
pub use error::Error;
pub use evidence::{
    ALPHA, Alarm, Comparison, Direction, Draw, Evidence, Exceedance, Frozen, LAMBDAS, Outcome,
    Reading, Ruler,
};
pub use forecast::{Forecast, PlanOptions, plan};
pub use inputs::{Command, Health, Inputs, Lock, Order};
pub use options::{default_plan, is_blue_green, validate};
pub use record::{Hold, HoldKind, Record, Start, Transition};
pub use step::step;
