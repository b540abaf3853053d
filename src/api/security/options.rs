//! What a server is told about its safety when it starts.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

use super::{Outbound, TlsFiles};
use crate::base::{Clock, SystemClock};

/// What a server is told about its safety when it starts.
#[derive(Clone)]
pub struct SecurityOptions {
    /// Requests per second and key; twice that at once.
    pub rate_rps: f64,
    /// File that the audit log is appended to; `None`: the newest entries are kept in memory.
    pub audit: Option<PathBuf>,
    /// Origins whose pages may call: `https://chat.example.org`.
    pub cors_origins: Vec<String>,
    /// Certificate and key; `None`: plain HTTP.
    pub tls: Option<TlsFiles>,
    /// Which addresses webhooks may go to, and where metrics may be read.
    pub outbound: Outbound,
    /// Signs webhooks; `None`: they are not signed.
    pub webhook_secret: Option<SecretString>,
    /// What no caller may take more of.
    pub limits: Limits,
    /// Time of rate limits, of the audit log, of idempotency keys, of crons and of webhooks.
    pub clock: Arc<dyn Clock>,
}

/// What no caller may take more of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest answer of a request that waits for no run.
    pub answer: Duration,
    /// Longest wait for a whole body.
    pub body: Duration,
    /// Connections at once; whoever comes then waits to be taken.
    pub connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        let time = Duration::from_secs(30);
        Self { answer: time, body: time, connections: 4_096 }
    }
}

impl Default for SecurityOptions {
    fn default() -> Self {
        Self {
            rate_rps: 100.0,
            audit: None,
            cors_origins: Vec::new(),
            tls: None,
            outbound: Outbound::new(Vec::new()),
            webhook_secret: None,
            limits: Limits::default(),
            clock: Arc::new(SystemClock),
        }
    }
}
