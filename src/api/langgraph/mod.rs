//! LangGraph's wire protocol over the agent's door, so that its clients work unchanged. Graphs are assistants.

mod assistants;
mod crons;
mod events;
mod firing;
mod follow;
mod graph_routes;
mod info;
mod items;
mod launch;
mod messages;
mod order;
mod paths;
mod picture;
mod protocol;
mod record;
mod refusal;
mod register;
mod run_list;
mod runs;
mod schedule;
mod searching;
mod snapshot;
mod states;
mod streams;
mod threads;
mod webhook;

pub(super) use assistants::keep_own;
pub(super) use firing::watch as watch_crons;
pub(super) use follow::take_up;
pub(super) use graph_routes::{patient, quick};
pub(super) use refusal::Detail;
pub(super) use register::Register;

/// How often a record is read again that others change meanwhile.
const ATTEMPTS: usize = 16;
use searching::{Order, PAGINATION_TOTAL, contains, page, selected};
