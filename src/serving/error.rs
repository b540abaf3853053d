//! What can go wrong between the agent and a server.

use crate::base::Coded;

/// Why a server could not be read, started or steered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nobody answered.
    #[error("no answer from {endpoint}: {detail}")]
    Unreachable {
        /// What was called.
        endpoint: String,
        /// The transport's words.
        detail: String,
    },
    /// The page belongs to another engine.
    #[error("{endpoint} is not a {expected} page: {detail}")]
    WrongEngine {
        /// What was read.
        endpoint: String,
        /// The engine that was declared.
        expected: String,
        /// What was found instead.
        detail: String,
    },
    /// The server answered, but not with what was asked.
    #[error("{endpoint} answered {status}: {detail}")]
    BadAnswer {
        /// What was called.
        endpoint: String,
        /// HTTP status.
        status: u16,
        /// Start of the body, bounded.
        detail: String,
    },
    /// Too few samples for the window.
    #[error("{needed_s} s of samples are needed, {have_s} s are there")]
    NotEnoughHistory {
        /// Window asked for [s].
        needed_s: f64,
        /// Window covered [s].
        have_s: f64,
    },
    /// The server process did not become healthy.
    #[error("the server did not start: {reason}")]
    StartFailed {
        /// What ended it.
        reason: String,
        /// The server's own last lines.
        last_lines: Vec<String>,
    },
    /// The engine has no such knob, or not with that value.
    #[error("{engine} cannot set {knob} to {value}: {detail}")]
    Unsupported {
        /// Engine.
        engine: String,
        /// Knob.
        knob: String,
        /// Value.
        value: String,
        /// Why.
        detail: String,
    },
    /// No backend of that id.
    #[error("no backend `{0}` is running")]
    UnknownBackend(String),
    /// The data plane holds a newer table.
    #[error("the data plane is at generation {held}, {offered} was offered")]
    StaleGeneration {
        /// What it holds.
        held: u64,
        /// What was offered.
        offered: u64,
    },
    /// A simulated world's description makes no sense.
    #[error("world: `{field}` is {value}, expected {expected}")]
    InvalidWorld {
        /// Which field.
        field: String,
        /// Its value.
        value: String,
        /// What was expected.
        expected: String,
    },
    /// Reading or writing the launcher's or the world's own files failed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// The cause.
        source: std::io::Error,
    },
    /// Every port of the range is taken.
    #[error("no free port on {host} in {first}–{last}")]
    NoFreePort {
        /// Where the server would listen.
        host: String,
        /// First port of the range.
        first: u16,
        /// Last port of the range.
        last: u16,
    },
    /// No NVIDIA driver on this machine.
    #[error("no NVIDIA driver found: {detail}")]
    NoGpuDriver {
        /// The loader's words.
        detail: String,
    },
    /// The driver is there and fails.
    #[error("reading the GPUs failed: {what}: {detail}")]
    GpuFailed {
        /// What was being read.
        what: String,
        /// The driver's words.
        detail: String,
    },
    /// A file of ours does not read back.
    #[error("{what} is damaged: {detail}")]
    Corrupt {
        /// Which file.
        what: String,
        /// Where and how.
        detail: String,
    },
}

impl Coded for Error {
    fn code(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "serving.unreachable",
            Self::WrongEngine { .. } => "serving.wrong_engine",
            Self::BadAnswer { .. } => "serving.bad_answer",
            Self::NotEnoughHistory { .. } => "serving.not_enough_history",
            Self::StartFailed { .. } => "serving.start_failed",
            Self::Unsupported { .. } => "serving.unsupported_knob",
            Self::UnknownBackend(_) => "serving.unknown_backend",
            Self::StaleGeneration { .. } => "serving.stale_generation",
            Self::InvalidWorld { .. } => "serving.invalid_world",
            Self::Io { .. } => "serving.io",
            Self::NoFreePort { .. } => "serving.no_free_port",
            Self::NoGpuDriver { .. } => "serving.no_gpu_driver",
            Self::GpuFailed { .. } => "serving.gpu_failed",
            Self::Corrupt { .. } => "serving.corrupt",
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Unreachable { .. } => {
                "start the server, or correct `endpoint` in the config file".to_owned()
            }
            Self::WrongEngine { .. } => {
                "set `engine` of this deployment to the engine that is really there".to_owned()
            }
            Self::NotEnoughHistory { .. } => "wait, or ask for a shorter window".to_owned(),
            Self::StartFailed { last_lines, .. } => last_lines.join("\n"),
            Self::NoFreePort { .. } => "widen `ports`, or stop what listens there".to_owned(),
            Self::NoGpuDriver { .. } => {
                "install the driver, or go on without: only the GPU figures stay unknown".to_owned()
            }
            Self::InvalidWorld { .. } => {
                "correct the `world:` section of the config file".to_owned()
            }
            _ => String::new(),
        }
    }
}
