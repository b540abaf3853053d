//! What a server is told about its safety when it starts.

use std::path::PathBuf;
use std::sync::Arc;

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
    /// Time of rate limits, of the audit log, of idempotency keys, of crons and of webhooks.
    pub clock: Arc<dyn Clock>,
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
            clock: Arc::new(SystemClock),
        }
    }
}
