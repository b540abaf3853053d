//! What a process launcher must know before it starts anything.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use crate::domain::EngineKind;

/// How servers of one deployment are started on this host.
#[derive(Debug, Clone)]
pub struct ProcessOptions {
    /// Name of the deployment: backends' ids start with it.
    pub name: String,
    /// Whose flags the servers take.
    pub engine: EngineKind,
    /// Name under which the model is served.
    pub served_model: String,
    /// The program, for example `vllm`.
    pub program: PathBuf,
    /// Arguments before the config's, for example `serve HuggingFaceTB/SmolLM2-135M-Instruct`.
    pub args: Vec<String>,
    /// Environment added to the agent's own; a config's environment overrules it.
    pub env: Vec<(String, String)>,
    /// Where the program runs; the agent's directory when unset.
    pub working_dir: Option<PathBuf>,
    /// Where the record of servers and their logs are kept; one launcher at a time.
    pub state_dir: PathBuf,
    /// Where servers listen.
    pub host: String,
    /// Ports to choose from.
    pub ports: RangeInclusive<u16>,
    /// Path that answers 200 once the server can take requests.
    pub health_path: String,
    /// Longest wait for the first 200 [s].
    pub start_timeout_s: f64,
    /// Trials get the processor only when nobody else wants it: for hosts whose cores serve users.
    pub trials_yield: bool,
    /// From SIGTERM to SIGKILL [s].
    pub grace_s: f64,
    /// From one look at a starting or ending server to the next [ms].
    pub poll_ms: u64,
    /// Restarts of a crashed server within [`Self::restart_window_s`] before it stays down.
    pub restarts_max: usize,
    /// See [`Self::restarts_max`] [s].
    pub restart_window_s: f64,
}

impl ProcessOptions {
    /// Options for `program`; the rest are defaults that suit a large model: 15 minutes to start, 30 s to end.
    pub fn new(
        name: impl Into<String>,
        engine: EngineKind,
        served_model: impl Into<String>,
        program: impl Into<PathBuf>,
        state_dir: impl Into<PathBuf>,
    ) -> Self {
        Self {
            name: name.into(),
            engine,
            served_model: served_model.into(),
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            working_dir: None,
            state_dir: state_dir.into(),
            host: "127.0.0.1".to_owned(),
            ports: 8100..=8199,
            health_path: "/health".to_owned(),
            start_timeout_s: 900.0,
            trials_yield: false,
            grace_s: 30.0,
            poll_ms: 250,
            restarts_max: 3,
            restart_window_s: 600.0,
        }
    }
}
