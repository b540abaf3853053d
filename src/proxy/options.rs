//! What a proxy is told when it starts.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Where a proxy listens, what it remembers, how long it waits.
#[derive(Debug, Clone)]
pub struct ProxyOptions {
    /// Address of users' requests.
    pub listen: SocketAddr,
    /// Unix socket of the control interface; only this user can open it.
    pub control: PathBuf,
    /// Where the table in force is kept, so that a restart goes on routing.
    pub state_file: PathBuf,
    /// Longest wait for a backend to accept a connection.
    pub connect_timeout: Duration,
    /// Longest wait for the head of an answer. An unstreamed answer has its head only when it is complete.
    pub answer_timeout: Duration,
    /// Longest silence inside an answer.
    pub idle_timeout: Duration,
    /// How long an unused connection to a backend is kept. Uvicorn closes its own after 5 s: stay below.
    pub pool_idle: Duration,
    /// Largest JSON body that is read to find its session and to be sent again [bytes]; a larger one streams through.
    pub body_limit: usize,
    /// Records kept for the agent to fetch.
    pub records_kept: usize,
    /// How long streams may go on after the shutdown began.
    pub drain_timeout: Duration,
}

impl ProxyOptions {
    /// The usual waits and limits.
    pub fn new(listen: SocketAddr, control: PathBuf, state_file: PathBuf) -> Self {
        Self {
            listen,
            control,
            state_file,
            connect_timeout: Duration::from_secs(2),
            answer_timeout: Duration::from_secs(600),
            idle_timeout: Duration::from_secs(300),
            pool_idle: Duration::from_secs(4),
            body_limit: 8 << 20,
            records_kept: 65_536,
            drain_timeout: Duration::from_secs(600),
        }
    }
}
