//! Starting and stopping simulated servers.

use std::sync::Arc;

use async_trait::async_trait;

use super::World;
use super::action::Action;
use super::fleet::Fleet;
use super::server::Condition;
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
        let known = {
            let mut state = self.0.lock();
            if !state.fleet.launches.contains_key(key) || was_given_up(&state.fleet, key) {
                let (key, config) = (key.clone(), config.clone());
                state.perform(Action::Launch { key, config, purpose })?;
            }
            let fleet = &state.fleet;
            let known_s = fleet.launches.get(key).map_or(fleet.now_s, |launched| launched.known_s);
            fleet.moment(known_s)
        };
        self.0.clock().sleep_until(known).await;
        let state = self.0.lock();
        let launched = state.fleet.launches.get(key);
        let launched = launched.ok_or_else(|| Error::UnknownBackend(key.to_string()))?;
        match &launched.outcome {
            Ok(index) => Ok(state.fleet.servers[*index].running.clone()),
            Err((reason, last_lines)) => {
                Err(Error::StartFailed { reason: reason.clone(), last_lines: last_lines.clone() })
            }
        }
    }

    async fn running(&self) -> Result<Vec<Running>, Error> {
        let state = self.0.lock();
        let now = state.fleet.moment(state.fleet.now_s);
        let there = state.fleet.servers.iter().filter(|server| server.is_there());
        Ok(there
            .map(|server| Running {
                ready: server.running.ready.filter(|ready| *ready <= now),
                ..server.running.clone()
            })
            .collect())
    }

    async fn health(&self, backend: &str) -> Result<Health, Error> {
        let state = self.0.lock();
        let server = state.fleet.server(backend);
        let server = server.ok_or_else(|| Error::UnknownBackend(backend.to_owned()))?;
        match &server.condition {
            Condition::Stopped => Err(Error::UnknownBackend(backend.to_owned())),
            Condition::Down(reason) => Ok(Health::Down { reason: reason.clone() }),
            Condition::Up if server.takes(state.fleet.now_s) => Ok(Health::Healthy),
            Condition::Up => Ok(Health::Starting),
        }
    }

    async fn assign(&self, backend: &str, purpose: Purpose) -> Result<(), Error> {
        let mut state = self.0.lock();
        let server = state.fleet.server(backend);
        let server = server.ok_or_else(|| Error::UnknownBackend(backend.to_owned()))?;
        if server.running.purpose == purpose {
            return Ok(());
        }
        state.perform(Action::Assign { backend: backend.to_owned(), purpose })
    }

    async fn stop(&self, backend: &str) -> Result<(), Error> {
        let mut state = self.0.lock();
        match state.fleet.server(backend) {
            Some(server) if server.is_there() => {
                state.perform(Action::Stop { backend: backend.to_owned() })
            }
            _ => Ok(()),
        }
    }
}

/// Whether what was started under `key` was stopped before it came to anything: then it is started anew. What a load has been
/// over on is remembered with the load.
fn was_given_up(fleet: &Fleet, key: &EffectKey) -> bool {
    let Some(Ok(index)) = fleet.launches.get(key).map(|launched| &launched.outcome) else {
        return false;
    };
    let server = &fleet.servers[*index];
    let loaded =
        fleet.loads.iter().any(|load| load.backend == server.running.backend.id && load.is_over());
    server.running.purpose == Purpose::Trial && !server.is_there() && !loaded
}
