//! Assembly, and [`Agent`], the one door for every edge.

mod added;
mod assembly;
mod catalogue;
mod config;
mod data_plane;
mod doctor;
mod door;
mod drivers;
mod edge;
mod edits;
mod error;
mod graphs;
mod instances;
mod load;
mod models;
mod naming;
mod outcome;
mod records;
pub mod saver;
mod settings;
mod shape;
mod simulation;
mod sources;
mod store_file;
mod targets;
mod testing;
mod threads;
mod up;
mod vocabulary;

pub use added::Reach;
pub use catalogue::Reloaded;
pub use config::{
    ConfigFile, DeploymentConfig, ExternalDeployment, ProcessDeployment, RetentionSettings,
};
pub use data_plane::{ProxySettings, run_proxy};
pub use doctor::Check;
pub use door::{Agent, Goal};
pub use drivers::{Drivers, Seen, Watch};
pub use edits::{Expected, Text, Written};
pub use error::Error;
pub use graphs::{Drawing, graph_schema};
pub use instances::{Sample, Scrape, Sighting};
pub use load::{LoadRequest, put_load};
pub use outcome::{OptimizeResult, RolloutResult, Started};
pub use records::{CRON_RECORDS, THREAD_RECORDS, run_records};
/// A thread's journal, live.
pub type Journal = crate::runtime::Follow;
/// One entry of a journal.
pub type JournalEntry = crate::runtime::Event;
/// A thread at one of its checkpoints.
pub type ThreadState = crate::runtime::ThreadState;

/// Something wrong with a graph file.
pub type Finding = crate::graph::Finding;
/// A change to a thread's state.
pub type StateUpdate = crate::runtime::Update;
/// What to do with a run that goes on.
pub type Multitask = crate::runtime::Multitask;
/// Nodes before and after which a run is held.
pub type Pauses = crate::runtime::Pauses;
/// What moving a thread to another version of its graph would do.
pub type MigrationReport = crate::runtime::MigrationReport;
/// How two branches differ.
pub type ThreadDiff = crate::runtime::ThreadDiff;

/// Where a state stands among those of its thread.
pub type Lineage = crate::runtime::Lineage;
/// What makes a state.
pub type Origin = crate::runtime::Origin;
/// A question that waits for an answer.
pub type OpenQuestion = crate::runtime::OpenInterrupt;
/// How a thread stands.
pub type ThreadStatus = crate::runtime::ThreadStatus;

/// A tool as others see it.
pub type ToolDescription = crate::tools::Description;
/// What a call of a tool may change.
pub type ToolEffect = crate::tools::Effect;

pub use settings::{ModelChoice, ModelSettings, Settings};
/// What retention came to.
pub type Forgotten = crate::runtime::Forgotten;

pub use shape::{GraphShape, ShapeEdge};
pub use simulation::{SimulationSettings, run_simulation};
pub use store_file::{
    CheckReport, Compacted, StoreStats, back_store_up, check_store, store_documents, store_stats,
    vacuum_store,
};
pub use testing::TestOutcome;
pub use threads::StartRequest;
