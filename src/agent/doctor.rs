//! What is there: key, model, GPUs, engines, store; each really asked.

use std::time::Duration;

use serde::Serialize;

use super::assembly::Assembled;
use super::{ModelSettings, models};
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
}

impl Check {
    fn new(name: impl Into<String>, ok: Option<bool>, detail: impl Into<String>) -> Self {
        Self { name: name.into(), ok, detail: detail.into() }
    }
}

/// Asks everything.
pub(super) async fn examine(parts: &Assembled, model: &ModelSettings) -> Vec<Check> {
    let mut checks = vec![
        Check::new("decides", Some(true), parts.model_line.clone()),
        provider(model).await,
        gpus(),
        Check::new(
            "graphs",
            Some(true),
            parts.shelf.now().graphs.keys().cloned().collect::<Vec<_>>().join(", "),
        ),
    ];
    checks.extend(pulse(parts, PATIENCE).await);
    checks
}

/// Longest look at one deployment when a person asks: the first look at a server waits until it has seen ten seconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// Asks the store and every deployment: what work cannot do without.
pub(super) async fn pulse(parts: &Assembled, patience: Duration) -> Vec<Check> {
    let store = match parts.runtime.threads(1).await {
        Ok(_) => Check::new("store", Some(true), "answers"),
        Err(error) => Check::new("store", Some(false), error.problem().to_string()),
    };
    let targets = parts.registry.services().targets.now();
    let asked = targets.values().map(|target| deployment(target, parts.simulated, patience));
    let mut checks = vec![store];
    checks.extend(futures::future::join_all(asked).await);
    checks
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
        Err(_) => format!("nothing to see within {} s", patience.as_secs()),
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
