//! What can keep the proxy from starting, or from obeying.

use std::path::PathBuf;

use crate::base::Coded;

/// Why the proxy did not start, or refused a table.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The address for users' requests could not be taken.
    #[error("cannot listen on {listen}: {source}")]
    Listen {
        /// What was asked for.
        listen: std::net::SocketAddr,
        /// The cause.
        source: std::io::Error,
    },
    /// The control socket could not be made.
    #[error("cannot make the control socket {}: {source}", path.display())]
    Control {
        /// Where.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// Another proxy answers on the control socket.
    #[error("another proxy is running on {}", .0.display())]
    AlreadyRunning(PathBuf),
    /// The table could not be made durable or read back.
    #[error("the proxy's state file {}: {detail}", path.display())]
    StateFile {
        /// Where.
        path: PathBuf,
        /// What went wrong.
        detail: String,
    },
    /// The table contradicts itself.
    #[error("the traffic table is not valid: {0}")]
    InvalidTable(String),
    /// A newer table, or another one of the same generation, is in force.
    #[error("generation {held} is in force, {offered} was offered")]
    StaleGeneration {
        /// In force.
        held: u64,
        /// Offered.
        offered: u64,
    },
}

impl Coded for Error {
    fn code(&self) -> &'static str {
        match self {
            Self::Listen { .. } => "proxy.listen",
            Self::Control { .. } => "proxy.control",
            Self::AlreadyRunning(_) => "proxy.already_running",
            Self::StateFile { .. } => "proxy.state_file",
            Self::InvalidTable(_) => "proxy.invalid_table",
            Self::StaleGeneration { .. } => "proxy.stale_generation",
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Listen { .. } => "choose a free address, or stop what listens there",
            Self::Control { .. } => "choose a path in a folder that this user may write to",
            Self::AlreadyRunning(_) => "use the running one, or give this one its own socket",
            Self::StateFile { .. } => {
                "repair or remove the file; without it the proxy starts with no table and answers 503 until it gets one"
            }
            Self::InvalidTable(_) => "send a table that is whole: see TrafficTable",
            Self::StaleGeneration { .. } => "read the table in force and decide again from it",
        }
        .to_owned()
    }
}
