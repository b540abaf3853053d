//! Assembly, and [`Agent`], the one door for every edge.

mod assembly;
mod config;
mod data_plane;
mod doctor;
mod door;
mod drivers;
mod error;
mod graphs;
mod load;
mod models;
mod outcome;
mod settings;
mod simulation;
mod sources;
mod targets;
mod up;
mod vocabulary;

pub use config::{ConfigFile, DeploymentConfig, ExternalDeployment, ProcessDeployment};
pub use data_plane::{ProxySettings, run_proxy};
pub use doctor::Check;
pub use door::{Agent, Goal};
pub use drivers::{Drivers, Seen, Watch};
pub use error::Error;
pub use graphs::{Drawing, check_graph_file, graph_schema};
pub use load::{LoadRequest, put_load};
pub use outcome::{OptimizeResult, RolloutResult, Started};
/// A thread's journal, live.
pub type Journal = crate::runtime::Follow;
/// One entry of a journal.
pub type JournalEntry = crate::runtime::Event;
/// A thread at one of its checkpoints.
pub type ThreadState = crate::runtime::ThreadState;

pub use settings::{ModelChoice, ModelSettings, Settings};
pub use simulation::{SimulationSettings, run_simulation};
