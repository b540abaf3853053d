//! The proxy as its own process: how it is started, and where its socket is.

use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::Error;
use crate::proxy::{self, ProxyOptions};

/// Where a proxy listens and keeps its things.
#[derive(Debug, Clone)]
pub struct ProxySettings {
    /// Where users' requests arrive.
    pub listen: SocketAddr,
    /// Unix socket of the control interface.
    pub control: PathBuf,
    /// File that keeps the table over restarts.
    pub state: PathBuf,
}

/// Runs a proxy in this process until `shutdown`. Once it listens, `announce` learns where.
pub async fn run_proxy(
    settings: ProxySettings,
    announce: impl FnOnce(SocketAddr),
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Error> {
    let options = ProxyOptions::new(settings.listen, settings.control, settings.state);
    Ok(proxy::run(options, announce, shutdown).await?)
}

/// The file in which a deployment's proxy keeps its table.
pub(super) fn table_file(state_dir: &Path) -> PathBuf {
    state_dir.join("proxy.json")
}

/// The control socket of a deployment's proxy.
pub(super) fn socket(state_dir: &Path) -> PathBuf {
    state_dir.join("proxy.sock")
}
