//! Looking at a world: its pages through the ordinary dialect, its clients through the data plane.

use std::sync::Arc;

use async_trait::async_trait;

use super::World;
use crate::base::Millis;
use crate::domain::{
    EngineKind, GpuReading, Objective, Observation, RequestRecord, RequestStats, ServingConfig,
};
use crate::serving::{Error, GpuProbe, Observe, ObserveContext, Page, Purpose, dialect};

/// A world's pages.
pub(super) struct WorldObserve(pub(super) Arc<World>);

/// What one look needs, copied out of the lock.
struct Look {
    pages: Vec<Page>,
    cx: ObserveContext,
    records: Vec<RequestRecord>,
    covered_s: f64,
}

impl WorldObserve {
    fn look(&self, from: Millis, to: Millis) -> Look {
        let state = self.0.lock();
        let fleet = &state.fleet;
        let stable = fleet.backends_of(Purpose::Stable);
        let ids: Vec<String> = stable.iter().map(|backend| backend.id.clone()).collect();
        let config = ids.first().and_then(|id| fleet.server(id));
        let config = config.map_or(ServingConfig::default(), |s| s.running.config.clone());
        let ended = fleet.records.iter().filter(|r| r.finished > from && r.finished <= to);
        let mut pages = fleet.pages.window(to, to.since(from) as f64 / 1000.0);
        pages.retain(|page| ids.contains(&page.backend));
        let now = fleet.moment(fleet.now_s);
        let oldest = ids.iter().map(|id| fleet.pages.oldest(id).map_or(0, |at| now.since(at)));
        let covered_s = oldest.min().unwrap_or(0) as f64 / 1000.0;
        Look {
            pages,
            cx: ObserveContext { deployment: fleet.spec.deployment.clone(), config },
            records: ended.cloned().collect(),
            covered_s,
        }
    }
}

#[async_trait]
impl Observe for WorldObserve {
    async fn observe(
        &self,
        window_s: f64,
        objective: Option<&Objective>,
    ) -> Result<Observation, Error> {
        let now = self.0.now();
        let from = Millis(now.0.saturating_sub((window_s * 1000.0) as u64));
        let look = self.look(from, now);
        if look.covered_s < window_s.min(10.0) {
            // A server that has just taken over has few pages: let it serve for a window.
            self.0.clock().sleep_until(now.plus((window_s * 1000.0) as u64)).await;
            return Box::pin(self.observe(window_s, objective)).await;
        }
        let mut seen = dialect(EngineKind::Vllm).observe(&look.pages, &look.cx)?;
        let records: Vec<&RequestRecord> = look.records.iter().collect();
        seen.client = Some(RequestStats::of(&records, window_s, objective));
        Ok(seen)
    }

    async fn series(&self, window_s: f64, step_s: f64) -> Result<Vec<Observation>, Error> {
        let now = self.0.now();
        let (step_ms, steps) = ((step_s * 1000.0) as u64, (window_s / step_s).floor() as u64);
        let mut windows = Vec::new();
        for step in (0..steps).rev() {
            let to = Millis(now.0.saturating_sub(step * step_ms));
            let look = self.look(Millis(to.0.saturating_sub(step_ms)), to);
            if look.pages.len() > 1 {
                windows.push(dialect(EngineKind::Vllm).observe(&look.pages, &look.cx)?);
            }
        }
        Ok(windows)
    }
}

/// A world has no GPU counters to read: its engines are diagnosed by their own metrics.
pub(super) struct WorldGpus;

#[async_trait]
impl GpuProbe for WorldGpus {
    async fn read(&self) -> Result<Vec<GpuReading>, Error> {
        Ok(Vec::new())
    }
}
