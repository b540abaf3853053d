//! Deployments that an edge adds while the agent runs: servers that somebody else starts, watched through the edge's guard and
//! kept in the store. Nothing that a caller says is ever executed, so there is no other kind.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;

use super::naming::{NAME, is_name};
use super::{Agent, DeploymentConfig, Error, ExternalDeployment, targets};
use crate::serving::{self, Target};
use crate::tools;

/// Collection of the deployments that were added.
const ADDED: &str = "deployments";
/// More than anybody adds: each is scraped for ever.
const ADDED_MAX: usize = 100;
/// Most replicas of one.
const ENDPOINTS_MAX: usize = 64;

/// The edge's guard before calls of addresses that a caller gave.
#[async_trait]
pub trait Reach: Send + Sync {
    /// A client that calls the host of `url` at addresses that were checked now, and nobody else.
    ///
    /// Errors: why it is not called, in words.
    async fn reach(&self, url: &str, timeout: Duration) -> Result<reqwest::Client, String>;
}

/// The same guard, as the room of the engines knows it.
struct Guard(Arc<dyn Reach>);

#[async_trait]
impl serving::Reach for Guard {
    async fn reach(&self, url: &str, timeout: Duration) -> Result<reqwest::Client, String> {
        self.0.reach(url, timeout).await
    }
}

/// The deployments that the config file does not declare.
#[derive(Default)]
pub(super) struct Added {
    held: RwLock<BTreeMap<String, ExternalDeployment>>,
    /// Held while one is added, changed or removed: store and memory change together.
    writing: tokio::sync::Mutex<()>,
}

impl Added {
    fn held(&self) -> RwLockReadGuard<'_, BTreeMap<String, ExternalDeployment>> {
        self.held.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Agent {
    /// Watches the deployments again that were added before the last stop. One that cannot be is logged and left out.
    ///
    /// Errors: a store that fails.
    pub async fn take_up_deployments(&self, reach: &Arc<dyn Reach>) -> Result<(), Error> {
        let added = &self.parts().added;
        let _writing = added.writing.lock().await;
        let kept = self.documents().list(ADDED, ADDED_MAX).await.map_err(Error::Run)?;
        for document in kept {
            let name = document.key;
            let taken = serde_json::from_value(document.value)
                .map_err(|error| Error::InvalidDeployment(error.to_string()))
                .and_then(|deployment| self.watch(deployment, reach));
            if let Err(error) = taken {
                tracing::error!(deployment = name, %error, "an added deployment is left out");
            }
        }
        Ok(())
    }

    /// Adds a deployment: it is watched from now on, and after a restart.
    ///
    /// Errors: [`Error::DeploymentExists`]; as [`Agent::change_deployment`].
    pub async fn add_deployment(
        &self,
        deployment: ExternalDeployment,
        reach: &Arc<dyn Reach>,
    ) -> Result<(), Error> {
        let _writing = self.parts().added.writing.lock().await;
        if self.parts().registry.services().targets.now().contains_key(&deployment.name) {
            return Err(Error::DeploymentExists(deployment.name));
        }
        if self.parts().added.held().len() >= ADDED_MAX {
            let detail = format!("{ADDED_MAX} were added already");
            return Err(Error::InvalidDeployment(detail));
        }
        self.keep(deployment, reach).await
    }

    /// Replaces a deployment that was added; what was seen of it so far is forgotten.
    ///
    /// Errors: no such deployment; [`Error::Declared`], [`Error::SimulatedFleet`], [`Error::InvalidDeployment`],
    /// [`Error::NotInCatalogue`]; a store that fails.
    pub async fn change_deployment(
        &self,
        deployment: ExternalDeployment,
        reach: &Arc<dyn Reach>,
    ) -> Result<(), Error> {
        let _writing = self.parts().added.writing.lock().await;
        self.changeable(&deployment.name).await?;
        self.keep(deployment, reach).await
    }

    /// Forgets a deployment that was added. Its server is left alone.
    ///
    /// Errors: no such deployment; [`Error::Declared`], [`Error::DeploymentBusy`]; a store that fails.
    pub async fn remove_deployment(&self, name: &str) -> Result<(), Error> {
        let added = &self.parts().added;
        let _writing = added.writing.lock().await;
        self.changeable(name).await?;
        self.documents().remove(ADDED, name).await.map_err(Error::Run)?;
        self.parts().registry.services().targets.remove(name);
        added.held.write().unwrap_or_else(PoisonError::into_inner).remove(name);
        Ok(())
    }

    /// Refuses what no deployment has; nothing is called or kept.
    ///
    /// Errors: [`Error::InvalidDeployment`].
    pub fn check_deployment(&self, deployment: &ExternalDeployment) -> Result<(), Error> {
        check(deployment).map_err(Error::InvalidDeployment)
    }

    /// Where added deployments are reached: name and URL.
    pub fn added_endpoints(&self) -> Vec<(String, String)> {
        let held = self.parts().added.held();
        let of = |one: &ExternalDeployment| {
            let named = one.endpoints.iter().map(|url| (one.name.clone(), url.clone()));
            named.collect::<Vec<_>>()
        };
        held.values().flat_map(of).collect()
    }

    /// Refuses what was not added, and what somebody works on.
    async fn changeable(&self, name: &str) -> Result<(), Error> {
        let services = self.parts().registry.services();
        if !self.parts().added.held().contains_key(name) {
            let known = services.targets.now();
            return Err(match known.contains_key(name) {
                true => Error::Declared(name.to_owned()),
                false => tools::Error::UnknownDeployment {
                    name: name.to_owned(),
                    known: known.keys().cloned().collect::<Vec<_>>().join(", "),
                }
                .into(),
            });
        }
        let rollout = tools::rollout_on(services, name).await.map_err(Error::Run)?;
        rollout
            .map_or(Ok(()), |rollout| Err(Error::DeploymentBusy { name: name.to_owned(), rollout }))
    }

    async fn keep(
        &self,
        deployment: ExternalDeployment,
        reach: &Arc<dyn Reach>,
    ) -> Result<(), Error> {
        self.check_deployment(&deployment)?;
        // Before it is written down: what cannot be watched is refused.
        let target = self.watched(&deployment, reach)?;
        let value = json!(deployment);
        self.documents().put(ADDED, &deployment.name, None, value).await.map_err(Error::Run)?;
        self.hold(deployment, target);
        Ok(())
    }

    fn watch(&self, deployment: ExternalDeployment, reach: &Arc<dyn Reach>) -> Result<(), Error> {
        let target = self.watched(&deployment, reach)?;
        self.hold(deployment, target);
        Ok(())
    }

    fn hold(&self, deployment: ExternalDeployment, target: Target) {
        self.parts().registry.services().targets.put(target);
        let held = &self.parts().added.held;
        let mut held = held.write().unwrap_or_else(PoisonError::into_inner);
        held.insert(deployment.name.clone(), deployment);
    }

    fn watched(
        &self,
        deployment: &ExternalDeployment,
        reach: &Arc<dyn Reach>,
    ) -> Result<Target, Error> {
        if self.parts().simulated {
            return Err(Error::SimulatedFleet);
        }
        let declared = self.settings().config.deployments.iter().any(|one| match one {
            DeploymentConfig::External(external) => external.name == deployment.name,
            DeploymentConfig::Process(process) => process.name == deployment.name,
            DeploymentConfig::Simulated { .. } => false,
        });
        if declared {
            return Err(Error::Declared(deployment.name.clone()));
        }
        let guard = Arc::new(Guard(reach.clone()));
        targets::watched(deployment, self.clock(), Some(guard))
    }
}

/// Says what no deployment has.
fn check(deployment: &ExternalDeployment) -> Result<(), String> {
    let ExternalDeployment { name, endpoints, gpus, limits, .. } = deployment;
    if !is_name(name) {
        return Err(format!("`{name}` is no name: {NAME}"));
    }
    if !(1..=ENDPOINTS_MAX).contains(&endpoints.len()) {
        return Err(format!("it has {} endpoints; expected 1 to {ENDPOINTS_MAX}", endpoints.len()));
    }
    if *gpus == 0 {
        return Err("it has no GPU: `gpus` is at least 1".to_owned());
    }
    let bounds = [limits.ttft_p95_ms, limits.tpot_p95_ms, limits.e2e_p95_ms];
    match bounds.into_iter().flatten().find(|bound| !(*bound > 0.0)) {
        Some(bound) => Err(format!("a limit of {bound} ms; expected more than 0")),
        None => Ok(()),
    }
}
