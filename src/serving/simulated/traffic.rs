//! The data plane of a world.

use std::sync::Arc;

use async_trait::async_trait;

use super::World;
use super::action::Action;
use crate::domain::{RequestRecord, TrafficTable};
use crate::serving::{Error, TrafficPlane};

/// A world's data plane.
pub(super) struct WorldTraffic(pub(super) Arc<World>);

#[async_trait]
impl TrafficPlane for WorldTraffic {
    async fn apply(&self, table: &TrafficTable) -> Result<(), Error> {
        let mut state = self.0.lock();
        let held = &state.fleet.table;
        if held == table {
            return Ok(());
        }
        if table.generation <= held.generation {
            let (held, offered) = (held.generation, table.generation);
            return Err(Error::StaleGeneration { held, offered });
        }
        state.perform(Action::Apply { table: table.clone() })
    }

    async fn observed(&self) -> Result<TrafficTable, Error> {
        Ok(self.0.lock().fleet.table.clone())
    }

    async fn in_flight(&self, backend: &str) -> Result<u64, Error> {
        let state = self.0.lock();
        let server = state.fleet.server(backend);
        server.map(|s| s.in_flight()).ok_or_else(|| Error::UnknownBackend(backend.to_owned()))
    }

    async fn records(&self, after: u64) -> Result<(Vec<RequestRecord>, u64), Error> {
        let state = self.0.lock();
        let all = &state.fleet.records;
        let from = usize::try_from(after).unwrap_or(usize::MAX).min(all.len());
        Ok((all[from..].to_vec(), all.len() as u64))
    }

    async fn renew(&self) -> Result<(), Error> {
        let mut state = self.0.lock();
        if state.fleet.table.lease_ms.is_none() {
            return Ok(());
        }
        state.perform(Action::Renew)
    }
}
