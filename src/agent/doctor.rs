//! What is there: key, model, GPUs, engines, store; each really asked.

use std::future::Future;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::assembly::Assembled;
use super::up::Host;
use super::{Agent, ModelSettings, models};
use crate::base::Coded;
use crate::serving::Target;

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Check {
    /// What.
    pub name: String,
    /// Whether it works; `None`: not there, and not needed.
    pub ok: Option<bool>,
    /// What was found, in words.
    pub detail: String,
    /// How long asking took [ms]; `None`: nothing had to be asked.
    pub latency_ms: Option<u64>,
}

impl Check {
    fn new(name: impl Into<String>, ok: Option<bool>, detail: impl Into<String>) -> Self {
        Self { name: name.into(), ok, detail: detail.into(), latency_ms: None }
    }
}

/// What `look` finds, with the time that it took.
async fn timed(look: impl Future<Output = Check>) -> Check {
    let began = Instant::now();
    let check = look.await;
    let latency_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    Check { latency_ms: Some(latency_ms), ..check }
}

impl Agent {
    /// Asks everything that is there, each thing at most so long: what hangs is named, and hangs nothing.
    pub async fn examine(&self, patience: Duration) -> Vec<Check> {
        within(self.parts(), &self.settings().model, patience).await
    }
}

/// Asks everything.
pub(super) async fn examine(parts: &Assembled, model: &ModelSettings) -> Vec<Check> {
    within(parts, model, PATIENCE).await
}

async fn within(parts: &Assembled, model: &ModelSettings, patience: Duration) -> Vec<Check> {
    let asked = async {
        match model.api_key {
            Some(_) => timed(in_time("model provider", provider(model), patience)).await,
            None => provider(model).await,
        }
    };
    let (provider, pulse) = tokio::join!(asked, pulse(parts, patience));
    let mut checks = vec![
        Check::new("decides", Some(true), parts.model_line.clone()),
        provider,
        timed(async { gpus() }).await,
        Check::new(
            "graphs",
            Some(true),
            parts.shelf.now().graphs.keys().cloned().collect::<Vec<_>>().join(", "),
        ),
    ];
    checks.extend(pulse);
    checks
}

/// Longest look at one thing when a person asks: the first look at a server waits until it has seen ten seconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// Asks the store, every deployment and every proxy of this host: what work cannot do without.
pub(super) async fn pulse(parts: &Assembled, patience: Duration) -> Vec<Check> {
    let store = async {
        match parts.runtime.threads(1).await {
            Ok(_) => Check::new("store", Some(true), "answers"),
            Err(error) => Check::new("store", Some(false), error.problem().to_string()),
        }
    };
    let targets = parts.registry.services().targets.now();
    let asked = targets.values().map(|target| timed(deployment(target, parts.simulated, patience)));
    let proxies = parts.hosts.iter().map(|host| timed(proxy(host, patience)));
    let (store, deployments, proxies) = tokio::join!(
        timed(store),
        futures::future::join_all(asked),
        futures::future::join_all(proxies)
    );
    [vec![store], deployments, proxies].concat()
}

/// Whether the proxy of a deployment of this host answers its control socket, with or without a table.
async fn proxy(host: &Host, patience: Duration) -> Check {
    let name = format!("proxy of {}", host.name());
    let look = async {
        match host.proxy_answers().await {
            true => Check::new(&name, Some(true), "answers"),
            false => Check::new(&name, Some(false), "nothing listens on its control socket"),
        }
    };
    in_time(&name, look, patience).await
}

/// What `look` finds, if it does within `patience`.
async fn in_time(name: &str, look: impl Future<Output = Check>, patience: Duration) -> Check {
    let found = tokio::time::timeout(patience, look).await;
    found.unwrap_or_else(|_| {
        Check::new(name, Some(false), format!("no answer within {} s", patience.as_secs_f64()))
    })
}

/// Whether one deployment answers, as far as `patience` shows it.
async fn deployment(target: &Target, simulated: bool, patience: Duration) -> Check {
    let kind = if simulated { "simulated" } else { "real" };
    let deployment = &target.deployment;
    let name = format!("deployment {}", deployment.name);
    let detail = format!("{kind} {} serving {}", deployment.engine, deployment.served_model);
    let why = match tokio::time::timeout(patience, target.observe.observe(10.0, None)).await {
        Ok(Ok(_)) => return Check::new(name, Some(true), detail),
        Ok(Err(error)) => error.problem().to_string(),
        Err(_) => format!("nothing to see within {} s", patience.as_secs_f64()),
    };
    Check::new(name, Some(false), format!("{detail}: {why}"))
}

async fn provider(settings: &ModelSettings) -> Check {
    let Some(key) = &settings.api_key else {
        let detail = "GROQ_API_KEY is not set: the built-in expert decides";
        return Check::new("model provider", None, detail);
    };
    let probe = models::real(settings, key, 0).probe().await;
    let ok =
        probe.reachable && probe.key_accepted == Some(true) && probe.model_listed == Some(true);
    let latency = probe.latency_ms.map_or("unknown".to_owned(), |ms| format!("{ms} ms"));
    let detail = match &probe.error {
        Some(error) => error.problem().to_string(),
        None => format!("{} at {}, {latency}", probe.model, probe.endpoint),
    };
    Check::new("model provider", Some(ok), detail)
}

fn gpus() -> Check {
    match crate::serving::gpu::probe() {
        Ok(_) => Check::new("GPU driver", Some(true), "NVML answers"),
        Err(error) => Check::new("GPU driver", None, error.to_string()),
    }
}
