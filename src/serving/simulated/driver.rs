//! Synthetic load in a world.

use std::sync::Arc;

use async_trait::async_trait;

use super::World;
use super::action::Action;
use crate::base::stable_hash;
use crate::domain::{Backend, Finish, RequestRecord};
use crate::serving::{Error, LoadDriver, LoadSpec};

/// A world's load generator.
pub(super) struct Driver(pub(super) Arc<World>);

#[async_trait]
impl LoadDriver for Driver {
    async fn drive(&self, backend: &Backend, load: &LoadSpec) -> Result<Vec<RequestRecord>, Error> {
        // One load per server and spec: doing it again after a crash is the same load, at the same time.
        let text = serde_json::to_string(load).unwrap_or_default();
        let name = stable_hash(&["load", &backend.id, &text]);
        let ends = {
            let mut state = self.0.lock();
            if !state.fleet.loads.contains_key(&name) {
                let (backend, load) = (backend.id.clone(), load.clone());
                state.perform(Action::Drive { name: name.clone(), backend, load })?;
            }
            let fleet = &state.fleet;
            let ends_s = fleet.loads.get(&name).map_or(fleet.now_s, |load| load.ends_s());
            fleet.moment(ends_s)
        };
        self.0.clock().sleep_until(ends).await;
        let state = self.0.lock();
        let ended = state.fleet.loads.get(&name).map(|load| load.records.clone());
        let mut records = ended.unwrap_or_default();
        records.extend(state.fleet.unfinished(&name));
        Ok(records)
    }
}

impl super::fleet::Fleet {
    /// Synthetic requests that were still under way when their load was over: they waited too long, and count as failed.
    fn unfinished(&self, name: &str) -> Vec<RequestRecord> {
        let owner = super::backend::Owner::Load(name.to_owned());
        let mut records = Vec::new();
        for server in &self.servers {
            let late = server.held.values().filter(|held| held.owner == owner);
            records.extend(late.map(|held| RequestRecord {
                arm: crate::domain::Arm::Canary,
                canary_probability: 1.0,
                session: name.to_owned(),
                first_turn: false,
                randomized: true,
                started: self.moment(held.arrival_s),
                finished: self.moment(self.now_s),
                ttft_ms: None,
                tpot_ms: None,
                itl_max_ms: None,
                e2e_ms: None,
                input_tokens: Some(held.input_tokens),
                output_tokens: 0,
                status: 0,
                finish: Finish::Failed,
            }));
        }
        records
    }
}
