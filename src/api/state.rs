//! What every handler shares.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OwnedMutexGuard;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use super::Error;
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
    /// Deployments that something is computed for.
    pub(super) computed: Arc<Turns>,
    /// Work that goes on whoever waits for it: a server that stops waits for it too.
    pub(super) work: TaskTracker,
}

/// Locks by name: what takes a core for seconds is computed for one caller at a time.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<()>>>>);

impl Turns {
    /// Waits for the turn of `name`, which is something that there is: names of callers' making would pile up. `true`: others
    /// had it meanwhile.
    pub(super) async fn take(&self, name: &str) -> (OwnedMutexGuard<()>, bool) {
        let lock = {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            all.entry(name.to_owned()).or_default().clone()
        };
        match lock.clone().try_lock_owned() {
            Ok(turn) => (turn, false),
            Err(_) => (lock.lock_owned().await, true),
        }
    }
}

impl App {
    pub(super) fn agent(&self) -> &Agent {
        self.drivers.agent()
    }

    /// Does `work` to its end, although whoever asked for it may go meanwhile.
    ///
    /// Errors: its own; [`Error::Interrupted`].
    pub(super) async fn carry<T: Send + 'static, E: From<Error> + Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, E>> + Send + 'static,
    ) -> Result<T, E> {
        let done = self.work.spawn(work.instrument(tracing::Span::current()));
        done.await.unwrap_or_else(|_| Err(Error::panicked().into()))
    }

    /// The config file's text, for the record of a run.
    pub(super) fn config(&self) -> Option<String> {
        self.config.as_deref().map(str::to_owned)
    }
}
