//! A deployment of this host, brought up and down: its stable server, its proxy, the first table.

use std::fs::OpenOptions;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::{Pid, Signal, kill_process};
use tokio::net::UnixStream;

use super::data_plane::{socket, table_file};
use super::{Error, ProcessDeployment};
use crate::base::{Clock, EffectKey, stable_hash};
use crate::domain::{Arm, ArmWeight, Backend, TrafficTable};
use crate::serving::process::ProcessLauncher;
use crate::serving::{self, EmbeddedProxy, Launcher, Purpose, Running, TrafficPlane};

/// Longest wait for a proxy to take its socket [ms].
const PROXY_START_MS_MAX: u64 = 15_000;
/// Longest wait for a proxy's streams to end [ms]: a little more than the proxy itself waits.
const PROXY_END_MS_MAX: u64 = 620_000;
/// From one look at a starting or ending proxy to the next [ms].
const LOOK_EVERY_MS: u64 = 100;
/// From one look after the servers to the next [ms].
const WATCH_EVERY_MS: u64 = 5_000;

/// One deployment that the agent runs on this host.
pub(super) struct Host {
    config: ProcessDeployment,
    launcher: Arc<ProcessLauncher>,
    proxy: EmbeddedProxy,
    clock: Arc<dyn Clock>,
    watched: AtomicBool,
}

impl Host {
    /// Nothing is started yet.
    pub(super) fn new(
        config: ProcessDeployment,
        launcher: Arc<ProcessLauncher>,
        proxy: EmbeddedProxy,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { config, launcher, proxy, clock, watched: AtomicBool::new(false) }
    }

    /// Name of the deployment.
    pub(super) fn name(&self) -> &str {
        &self.config.name
    }

    /// Restarts what crashes, as long as this agent lives.
    pub(super) fn watch(&self) {
        if !self.watched.swap(true, Ordering::Relaxed) {
            tokio::spawn(self.launcher.clone().supervise(WATCH_EVERY_MS));
        }
    }

    /// Ends what a trial kept for a rollout that did not come.
    pub(super) async fn release(&self) {
        if let Err(error) = self.launcher.release().await {
            tracing::warn!(deployment = %self.config.name, %error, "a spare server was not ended");
        }
    }

    /// Proxy, server, table: each started or applied when it is not there. Says what serves now.
    pub(super) async fn up(&self) -> Result<String, Error> {
        // First the proxy: it starts at once, and a server may take minutes.
        if !self.proxy_answers().await {
            self.start_proxy().await?;
        }
        let stable = self.stable_servers().await?;
        let table = self.table_for(&stable).await?;
        let ids: Vec<&str> = table.stable.backends.iter().map(|b| b.id.as_str()).collect();
        Ok(format!(
            "{} serves at http://{} by {} (table {})",
            self.config.name,
            self.config.listen,
            ids.join(", "),
            table.generation
        ))
    }

    /// The servers for users, healthy; dead ones are started again, with the config they had.
    async fn stable_servers(&self) -> Result<Vec<Running>, Error> {
        let running = self.launcher.running().await?;
        let stable: Vec<_> = running.into_iter().filter(|s| s.purpose == Purpose::Stable).collect();
        if stable.is_empty() {
            tracing::info!(deployment = %self.config.name, "starting the stable server");
            let key = EffectKey(stable_hash(&["stable", &self.config.name]));
            let config = &self.config.config;
            return Ok(vec![self.launcher.launch(&key, config, Purpose::Stable).await?]);
        }
        let mut healthy = Vec::new();
        for server in stable {
            healthy.push(self.launcher.launch(&server.key, &server.config, server.purpose).await?);
        }
        Ok(healthy)
    }

    /// The table in force. The first one is made here, and one whose servers are all gone is replaced.
    async fn table_for(&self, stable: &[Running]) -> Result<TrafficTable, Error> {
        let held = match self.proxy.observed().await {
            Ok(table) => Some(table),
            Err(serving::Error::BadAnswer { status: 404, .. }) => None,
            Err(error) => return Err(error.into()),
        };
        let running = self.launcher.running().await?;
        let lives = |backend: &Backend| running.iter().any(|server| server.backend == *backend);
        let generation = match held {
            Some(table) if table.stable.backends.iter().any(lives) => return Ok(table),
            Some(table) => table.generation + 1,
            None => 1,
        };
        let backends = stable.iter().map(|server| server.backend.clone()).collect();
        let table = TrafficTable {
            generation,
            salt: stable_hash(&["first", &self.config.name]),
            stable: ArmWeight { arm: Arm::Stable, backends },
            canary: None,
            canary_percent: 0.0,
            lease_ms: None,
        };
        self.proxy.apply(&table).await?;
        Ok(table)
    }

    /// Whether a proxy is there, with or without a table.
    pub(super) async fn proxy_answers(&self) -> bool {
        !matches!(self.proxy.observed().await, Err(serving::Error::Unreachable { .. }))
    }

    /// Starts the proxy as a process of its own: it serves users also when no agent lives.
    async fn start_proxy(&self) -> Result<(), Error> {
        let mut child = self.spawn_proxy()?;
        let deadline = self.clock.now().plus(PROXY_START_MS_MAX);
        while !self.proxy_answers().await {
            let ended = child.try_wait().ok().flatten().map(|status| format!("it ended: {status}"));
            let late = (self.clock.now() >= deadline).then(|| "no answer in 15 s".to_owned());
            if let Some(reason) = ended.or(late) {
                return Err(self.proxy_failed(&reason));
            }
            self.clock.sleep_ms(LOOK_EVERY_MS).await;
        }
        Ok(())
    }

    fn spawn_proxy(&self) -> Result<Child, Error> {
        let io = |what: &str| {
            let what = format!("{what} the proxy of `{}`", self.config.name);
            move |source| Error::Io { what, source }
        };
        let dir = &self.config.state_dir;
        std::fs::create_dir_all(dir).map_err(io("making the folder of"))?;
        let log = OpenOptions::new().create(true).append(true).open(self.proxy_log());
        let log = log.map_err(io("opening the log of"))?;
        let errors = log.try_clone().map_err(io("opening the log of"))?;
        let program = std::env::current_exe().map_err(io("finding the program of"))?;
        Command::new(program)
            .args(["proxy", "--listen", &self.config.listen])
            .arg("--control")
            .arg(socket(dir))
            .arg("--state")
            .arg(table_file(dir))
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            // Ctrl-C on the agent must not reach it.
            .process_group(0)
            .spawn()
            .map_err(io("starting"))
    }

    fn proxy_log(&self) -> PathBuf {
        self.config.state_dir.join("proxy.log")
    }

    fn proxy_failed(&self, reason: &str) -> Error {
        let log = std::fs::read_to_string(self.proxy_log()).unwrap_or_default();
        let lines: Vec<String> = log.lines().map(str::to_owned).collect();
        let last_lines = lines[lines.len().saturating_sub(5)..].to_vec();
        let reason = format!("the proxy of `{}` did not start: {reason}", self.config.name);
        serving::Error::StartFailed { reason, last_lines }.into()
    }

    /// Ends the proxy once its streams have ended, then every server of this deployment.
    pub(super) async fn down(&self) -> Result<String, Error> {
        self.end_proxy().await?;
        let running = self.launcher.running().await?;
        for server in &running {
            self.launcher.stop(&server.backend.id).await?;
        }
        // Its servers are gone: the next proxy begins without a table.
        let table = table_file(&self.config.state_dir);
        match std::fs::remove_file(&table) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::Io { what: format!("removing {}", table.display()), source });
            }
            _ => {}
        }
        let name = &self.config.name;
        let changed = running.iter().find(|s| {
            s.purpose == Purpose::Stable
                && s.config.fingerprint() != self.config.config.fingerprint()
        });
        Ok(match changed {
            Some(server) => format!(
                "{name} is down. It ran {}; the next `up` starts what the config file says.",
                serde_json::to_string(&server.config).unwrap_or_default()
            ),
            None => format!("{name} is down ({} servers stopped)", running.len()),
        })
    }

    /// The socket knows whose it is: no file with a process id that could be somebody else's by now.
    async fn end_proxy(&self) -> Result<(), Error> {
        let path = socket(&self.config.state_dir);
        let Ok(stream) = UnixStream::connect(&path).await else { return Ok(()) };
        let owner = stream.peer_cred().ok().and_then(|owner| Pid::from_raw(owner.pid()?));
        drop(stream);
        let what = format!("ending the proxy behind {}", path.display());
        let io = |source: std::io::Error| Error::Io { what: what.clone(), source };
        let owner = owner.ok_or_else(|| io(std::io::ErrorKind::NotFound.into()))?;
        kill_process(owner, Signal::TERM).map_err(|error| io(error.into()))?;
        let deadline = self.clock.now().plus(PROXY_END_MS_MAX);
        while UnixStream::connect(&path).await.is_ok() {
            if self.clock.now() >= deadline {
                return Err(io(std::io::ErrorKind::TimedOut.into()));
            }
            self.clock.sleep_ms(LOOK_EVERY_MS).await;
        }
        Ok(())
    }
}
