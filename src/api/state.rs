//! What every handler shares.

use std::net::SocketAddr;
use std::sync::Arc;

use super::langgraph::Register;
use super::mcp;
use super::metrics::Metrics;
use super::orchestrator::Standing;
use super::security::Security;
use crate::agent::{Agent, Drivers};
use crate::base::Millis;

/// The agent, its drivers and what is counted.
#[derive(Clone)]
pub(super) struct App {
    pub(super) drivers: Drivers,
    pub(super) metrics: Arc<Metrics>,
    /// Records and runs of LangGraph's protocol.
    pub(super) register: Arc<Register>,
    /// The Model Context Protocol.
    pub(super) mcp: mcp::Service,
    /// Keys, limits, the audit log, whom we may call.
    pub(super) security: Arc<Security>,
    /// Text of the config file, kept with every run so that `resume` needs no flags.
    pub(super) config: Option<Arc<str>>,
    /// When this process began to serve.
    pub(super) started: Millis,
    /// How it stands with its orchestrator.
    pub(super) standing: Arc<Standing>,
    /// Held while a task is looked up and begun, so that none begins twice.
    pub(super) tasks: Arc<tokio::sync::Mutex<()>>,
    /// Where it listens.
    pub(super) listen: SocketAddr,
}

impl App {
    pub(super) fn agent(&self) -> &Agent {
        self.drivers.agent()
    }

    /// The config file's text, for the record of a run.
    pub(super) fn config(&self) -> Option<String> {
        self.config.as_deref().map(str::to_owned)
    }
}
