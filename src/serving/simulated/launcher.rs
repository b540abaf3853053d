//! Starting and stopping simulated servers.

use std::sync::Arc;

use async_trait::async_trait;

use super::World;
use super::action::Action;
use crate::base::EffectKey;
use crate::domain::ServingConfig;
use crate::serving::{Error, Health, Launcher, Purpose, Running};

/// A world's launcher.
pub(super) struct WorldLauncher(pub(super) Arc<World>);

#[async_trait]
impl Launcher for WorldLauncher {
    async fn launch(
        &self,
        key: &EffectKey,
        config: &ServingConfig,
        purpose: Purpose,
    ) -> Result<Running, Error> {
        let running = {
            let mut state = self.0.lock();
            if !state.fleet.launches.contains_key(key) {
                let (key, config) = (key.clone(), config.clone());
                state.perform(Action::Launch { key, config, purpose })?;
            }
            let outcome = state.fleet.launches.get(key).cloned();
            match outcome {
                Some(Ok(id)) => {
                    let server = state.fleet.server(&id).ok_or(Error::UnknownBackend(id))?;
                    server.running.clone()
                }
                Some(Err(reason)) => {
                    let last_lines = vec![reason.clone()];
                    return Err(Error::StartFailed { reason, last_lines });
                }
                None => return Err(Error::UnknownBackend(key.to_string())),
            }
        };
        if let Some(ready) = running.ready {
            self.0.clock().sleep_until(ready).await;
        }
        Ok(running)
    }

    async fn running(&self) -> Result<Vec<Running>, Error> {
        let state = self.0.lock();
        let live = state.fleet.servers.iter().filter(|server| !server.stopped);
        Ok(live.map(|server| server.running.clone()).collect())
    }

    async fn health(&self, backend: &str) -> Result<Health, Error> {
        let state = self.0.lock();
        let server = state.fleet.server(backend).filter(|server| !server.stopped);
        let server = server.ok_or_else(|| Error::UnknownBackend(backend.to_owned()))?;
        Ok(match &server.down {
            Some(reason) => Health::Down { reason: reason.clone() },
            None if server.takes(state.fleet.now_s) => Health::Healthy,
            None => Health::Starting,
        })
    }

    async fn assign(&self, backend: &str, purpose: Purpose) -> Result<(), Error> {
        let mut state = self.0.lock();
        let known = state.fleet.server(backend);
        let known = known.ok_or_else(|| Error::UnknownBackend(backend.to_owned()))?;
        if known.running.purpose == purpose {
            return Ok(());
        }
        state.perform(Action::Assign { backend: backend.to_owned(), purpose })
    }

    async fn stop(&self, backend: &str) -> Result<(), Error> {
        let mut state = self.0.lock();
        match state.fleet.server(backend) {
            Some(server) if !server.stopped => {
                state.perform(Action::Stop { backend: backend.to_owned() })
            }
            _ => Ok(()),
        }
    }
}
