//! The data plane of a world, as the agent steers it.

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
        if !state.fleet.plane.accepts(table)? {
            // The same one again only renews its lease.
            return if table.lease_ms.is_some() { state.perform(Action::Renew) } else { Ok(()) };
        }
        let arms = std::iter::once(&table.stable).chain(&table.canary);
        for backend in arms.flat_map(|arm| &arm.backends) {
            if state.fleet.server(&backend.id).is_none() {
                return Err(Error::UnknownBackend(backend.id.clone()));
            }
        }
        state.perform(Action::Apply { table: table.clone() })
    }

    async fn observed(&self) -> Result<TrafficTable, Error> {
        Ok(self.0.lock().fleet.plane.table().clone())
    }

    async fn in_flight(&self, backend: &str) -> Result<u64, Error> {
        let state = self.0.lock();
        let server = state.fleet.server(backend);
        let in_flight = server.map(|server| server.in_flight());
        in_flight.ok_or_else(|| Error::UnknownBackend(backend.to_owned()))
    }

    async fn records(&self, after: u64) -> Result<(Vec<RequestRecord>, u64), Error> {
        let state = self.0.lock();
        let records = &state.fleet.records;
        Ok((records.after(after), records.total()))
    }

    async fn renew(&self) -> Result<(), Error> {
        let mut state = self.0.lock();
        match state.fleet.plane.table().lease_ms {
            Some(_) => state.perform(Action::Renew),
            None => Ok(()),
        }
    }
}
