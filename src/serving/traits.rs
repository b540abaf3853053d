//! The seams: a dialect is pure; a launcher, a traffic plane, a load driver and a GPU probe act.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::Error;
use crate::base::{EffectKey, Millis};
use crate::domain::{
    Backend, Deployment, EngineKind, GpuReading, Objective, Observation, RequestRecord,
    ServingConfig, TrafficTable, WorkloadProfile,
};

/// One scrape of one backend.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// When.
    pub at: Millis,
    /// Which backend.
    pub backend: String,
    /// Prometheus exposition text.
    pub text: Arc<str>,
}

/// What a dialect needs besides the pages.
#[derive(Debug, Clone, PartialEq)]
pub struct ObserveContext {
    /// Name of the deployment.
    pub deployment: String,
    /// Config as the launcher knows it; what the page says wins.
    pub config: ServingConfig,
}

/// How to start a server: a program, its arguments, its environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Launch {
    /// Arguments after the program, flags of the engine.
    pub args: Vec<String>,
    /// Environment variables to set.
    pub env: Vec<(String, String)>,
}

/// Pure knowledge of one engine: metric names and flags. One file per engine.
pub trait Dialect: Send + Sync {
    /// Which engine.
    fn kind(&self) -> EngineKind;

    /// Reads a window of pages, oldest first, of one or more backends. Rates and histograms are
    /// differences between the first and the last page of each backend, resets handled; gauges use every page.
    ///
    /// Errors: [`Error::WrongEngine`] when a page has none of the engine's names.
    fn observe(&self, pages: &[Page], cx: &ObserveContext) -> Result<Observation, Error>;

    /// Flags and environment that give `config`, for a server at `host:port`.
    ///
    /// Errors: [`Error::Unsupported`] for a knob the engine does not have.
    fn launch(
        &self,
        served_model: &str,
        config: &ServingConfig,
        host: &str,
        port: u16,
    ) -> Result<Launch, Error>;
}

/// What a server was started for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Serves users.
    Stable,
    /// Is measured with synthetic load.
    Trial,
    /// Passed its trial and is kept warm, for a rollout to take over.
    Spare,
    /// Will take users step by step.
    Canary,
}

impl Purpose {
    /// Whether users depend on it.
    pub fn serves(self) -> bool {
        matches!(self, Self::Stable | Self::Canary)
    }
}

/// A server that a launcher started.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Running {
    /// Where it listens.
    pub backend: Backend,
    /// Its config.
    pub config: ServingConfig,
    /// What for.
    pub purpose: Purpose,
    /// The effect that started it.
    pub key: EffectKey,
    /// When it was started.
    pub started: Millis,
    /// When it first was healthy; `None` until then.
    pub ready: Option<Millis>,
}

/// Whether a server can take requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum Health {
    /// It can.
    Healthy,
    /// Not yet.
    Starting,
    /// It ended or does not answer.
    Down {
        /// Its last words.
        reason: String,
    },
}

/// Turns a config into a running server, and back. Keeps its own durable record: survives the agent's death.
#[async_trait]
pub trait Launcher: Send + Sync {
    /// Starts a server and returns once it is healthy. The same `key` again returns the server it started, never a second one.
    ///
    /// Errors: [`Error::StartFailed`] with the server's own last lines; nothing is left running then.
    async fn launch(
        &self,
        key: &EffectKey,
        config: &ServingConfig,
        purpose: Purpose,
    ) -> Result<Running, Error>;

    /// Every server that was started and not stopped.
    async fn running(&self) -> Result<Vec<Running>, Error>;

    /// Whether a server can take requests now.
    async fn health(&self, backend: &str) -> Result<Health, Error>;

    /// Records that a server now has another purpose (a canary became stable). Idempotent.
    async fn assign(&self, backend: &str, purpose: Purpose) -> Result<(), Error>;

    /// Ends a server that was drained by the caller. Idempotent.
    async fn stop(&self, backend: &str) -> Result<(), Error>;

    /// Ends a trial whose server may be wanted again: it is kept warm for the next canary with the same config, or stopped
    /// by launchers that keep nothing.
    async fn keep(&self, backend: &str) -> Result<(), Error> {
        self.stop(backend).await
    }

    /// Ends the servers that were kept and that nobody has taken over.
    async fn release(&self) -> Result<(), Error> {
        Ok(())
    }
}

/// Where users' requests go.
#[async_trait]
pub trait TrafficPlane: Send + Sync {
    /// Puts a table in force. The same generation with the same content again is fine.
    ///
    /// Errors: [`Error::StaleGeneration`].
    async fn apply(&self, table: &TrafficTable) -> Result<(), Error>;

    /// The table in force.
    async fn observed(&self) -> Result<TrafficTable, Error>;

    /// Requests under way on a backend.
    async fn in_flight(&self, backend: &str) -> Result<u64, Error>;

    /// Requests that ended after record number `after`, oldest first, and the number to ask with next.
    /// `u64::MAX` asks for none and just returns the current number.
    async fn records(&self, after: u64) -> Result<(Vec<RequestRecord>, u64), Error>;

    /// Keeps the table's lease alive.
    async fn renew(&self) -> Result<(), Error>;
}

/// A synthetic load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoadSpec {
    /// What it looks like; its rate is the one to offer.
    pub profile: WorkloadProfile,
    /// Left out of the result at the start [s].
    pub warmup_s: f64,
    /// Measured after that [s].
    pub duration_s: f64,
    /// Seed of arrivals and lengths.
    pub seed: u64,
}

/// Puts synthetic load on one backend, around the data plane.
#[async_trait]
pub trait LoadDriver: Send + Sync {
    /// Open loop: arrivals do not wait for answers. Returns the requests that *arrived* in the measured window.
    async fn drive(&self, backend: &Backend, load: &LoadSpec) -> Result<Vec<RequestRecord>, Error>;
}

/// One value of a series.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct SeriesPoint {
    /// When.
    pub at: Millis,
    /// Value; `None` where the page did not say.
    pub value: Option<f64>,
}

/// The guard before calls of addresses that a caller gave.
#[async_trait]
pub trait Reach: Send + Sync {
    /// A client that calls the host of `url` at addresses that were checked now, and nobody else.
    ///
    /// Errors: why it is not called, in words.
    async fn reach(&self, url: &str, timeout: Duration) -> Result<reqwest::Client, String>;
}

/// Looks at a deployment's past pages.
#[async_trait]
pub trait Observe: Send + Sync {
    /// The last `window_s` [s] of the stable version, client figures included where a data plane is there.
    /// Waits for the window to fill when it must. With an objective, the clients' goodput counts the requests that met it.
    async fn observe(
        &self,
        window_s: f64,
        objective: Option<&Objective>,
    ) -> Result<Observation, Error>;

    /// The last `window_s` [s] cut in adjacent windows of `step_s` [s], oldest first; only windows that
    /// the kept pages cover, so the list may be short or empty. Client figures are left out.
    async fn series(&self, window_s: f64, step_s: f64) -> Result<Vec<Observation>, Error>;
}

/// Reads GPUs.
#[async_trait]
pub trait GpuProbe: Send + Sync {
    /// Every GPU of the deployment; an empty list when there are none to read.
    ///
    /// Errors: when the driver or exporter is there and fails.
    async fn read(&self) -> Result<Vec<GpuReading>, Error>;
}

/// One deployment with everything that can be done to it. What is `None` cannot be done here.
#[derive(Clone)]
pub struct Target {
    /// The deployment.
    pub deployment: Deployment,
    /// Its pages.
    pub observe: Arc<dyn Observe>,
    /// Starts servers; `None`: observe and advise only.
    pub launcher: Option<Arc<dyn Launcher>>,
    /// Steers users; `None`: no canary possible.
    pub traffic: Option<Arc<dyn TrafficPlane>>,
    /// Synthetic load; `None`: no trials.
    pub load: Option<Arc<dyn LoadDriver>>,
    /// Its GPUs.
    pub gpus: Arc<dyn GpuProbe>,
}

impl Target {
    /// The target with the config that serves users now: a rollout may have changed it since the target was built.
    ///
    /// The declared config where nothing was launched. While two versions run, the data plane says which one is stable.
    ///
    /// Errors: the launcher does not answer, or the data plane does not while two versions run.
    pub async fn as_served(&self) -> Result<Self, Error> {
        let mut target = self.clone();
        let Some(launcher) = &self.launcher else { return Ok(target) };
        let mut stable = launcher.running().await?;
        stable.retain(|server| server.purpose == Purpose::Stable);
        let differ = stable.windows(2).any(|pair| pair[0].config != pair[1].config);
        if let Some(traffic) = self.traffic.as_ref().filter(|_| differ) {
            let users = traffic.observed().await?.stable.backends;
            stable.retain(|server| users.contains(&server.backend));
        }
        if let Some(server) = stable.into_iter().next() {
            target.deployment.config = server.config;
        }
        Ok(target)
    }
}
