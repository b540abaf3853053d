//! What every handler shares.

use std::sync::Arc;

use super::langgraph::Register;
use super::metrics::Metrics;
use super::security::Security;
use crate::agent::{Agent, Drivers};

/// The agent, its drivers and what is counted.
#[derive(Clone)]
pub(super) struct App {
    pub(super) drivers: Drivers,
    pub(super) metrics: Arc<Metrics>,
    /// Records and runs of LangGraph's protocol.
    pub(super) register: Arc<Register>,
    /// Keys, limits, the audit log, whom we may call.
    pub(super) security: Arc<Security>,
    /// Text of the config file, kept with every run so that `resume` needs no flags.
    pub(super) config: Option<Arc<str>>,
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
