//! Runs graphs in supersteps, durably: plan → run in parallel on one snapshot → fold → commit → route.
//!
//! The runtime owns three traits that other rooms plug into: [`CheckpointStore`], [`Engine`] and [`NodeFactory`].
//! Reading order: `node` (what a node is), `checkpoint` (what is kept), `activation` (the loop), `superstep`.

mod activation;
mod apply;
mod branch;
mod channels;
mod checkpoint;
mod checkpoint_store;
mod draft;
mod eager;
mod edit;
mod effects;
mod engine;
mod error;
mod events;
mod fill;
mod flat;
mod fold;
mod follow;
mod interrupt;
mod letters;
mod limits;
mod migrate;
mod named;
mod node;
mod plan;
mod program;
mod retry;
mod route;
#[allow(clippy::module_inception, reason = "the room's main type has the room's name")]
mod runtime;
mod schedule;
mod state;
mod superstep;
mod task;
mod turn;

pub use branch::{Sides, ThreadDiff};
pub use channels::{Folded, fold};
pub use checkpoint::{
    Call, Checkpoint, Interrupt, JoinState, Lineage, Origin, Pauses, Progress, RunError, RunInfo,
    Slot, Status, Task, TaskResult, TaskState,
};
pub use checkpoint_store::{
    Begun, Change, CheckpointStore, Commit, Committed, Epoch, Forgotten, Opened, PostOutcome,
    Retention, ThreadRow, Verdict,
};
pub use edit::Update;
pub use engine::{Activate, Engine, Next};
pub use error::Error;
pub use events::{Data, Event, NewEvent, kind};
pub use follow::Follow;
pub use interrupt::EXPIRY;
pub use letters::{Letter, Posted};
pub use migrate::MigrationReport;
pub use named::Named;
pub use node::{
    Answer, Budget, Effects, ErrorClass, Grant, Meter, Node, NodeError, NodeFactory, Outcome,
    Question, StateView, TaskContext, Usage, WaitFor,
};
pub use runtime::{Multitask, Runtime, RuntimeParts, Start};
pub use state::{OpenInterrupt, ThreadState, ThreadStatus, ThreadSummary};
