//! Synthetic load in a world.

use std::sync::Arc;

use async_trait::async_trait;

use super::World;
use super::action::Action;
use crate::base::stable_hash;
use crate::domain::{Backend, RequestRecord};
use crate::serving::{Error, LoadDriver, LoadSpec};

/// Pause between two looks at whether the last answers have come [ms].
const LOOK_EVERY_MS: u64 = 1_000;

/// A world's load generator.
pub(super) struct Driver(pub(super) Arc<World>);

#[async_trait]
impl LoadDriver for Driver {
    async fn drive(&self, backend: &Backend, load: &LoadSpec) -> Result<Vec<RequestRecord>, Error> {
        // One load per server and spec: doing it again after a crash finds the same one, with its beginning.
        let text = serde_json::to_string(load).unwrap_or_default();
        let name = stable_hash(&["load", &backend.id, &text]);
        let (index, arrivals_end) = self.begin(name, backend, load)?;
        let clock = self.0.clock();
        clock.sleep_until(arrivals_end).await;
        loop {
            {
                let state = self.0.lock();
                let load = &state.fleet.loads[index];
                if load.is_over() {
                    return Ok(load.records.clone());
                }
            }
            clock.sleep_ms(LOOK_EVERY_MS).await;
        }
    }
}

impl Driver {
    /// The load of that name, begun if it was not yet: its index, and when its last request arrives.
    fn begin(
        &self,
        name: String,
        backend: &Backend,
        load: &LoadSpec,
    ) -> Result<(usize, crate::base::Millis), Error> {
        let mut state = self.0.lock();
        let known = state.fleet.loads.iter().position(|load| load.name == name);
        let index = match known {
            Some(index) => index,
            None if state.fleet.server(&backend.id).is_none() => {
                return Err(Error::UnknownBackend(backend.id.clone()));
            }
            None => {
                let (backend, load) = (backend.id.clone(), load.clone());
                state.perform(Action::Drive { name, backend, load })?;
                state.fleet.loads.len() - 1
            }
        };
        let fleet = &state.fleet;
        // One millisecond on: an arrival is never after the end, but its moment is rounded.
        Ok((index, fleet.moment(fleet.loads[index].arrivals_end_s()).plus(1)))
    }
}
