//! Looking at a world: its pages through the ordinary dialect, its clients through the data plane.

use std::sync::Arc;

use async_trait::async_trait;

use super::World;
use super::fleet::Fleet;
use super::history::{KEPT_S, SCRAPE_EVERY_S};
use super::server::Server;
use crate::base::Millis;
use crate::domain::{EngineKind, Objective, Observation, RequestRecord, RequestStats};
use crate::serving::{Error, GpuProbe, Observe, ObserveContext, Page, dialect};

/// A server that missed this many scrapes does not answer.
const MISSED_SCRAPES: f64 = 3.0;

/// A world's pages.
pub(super) struct WorldObserve(pub(super) Arc<World>);

/// What one look needs, copied out of the lock.
struct Look {
    pages: Vec<Page>,
    cx: ObserveContext,
    clients: Vec<RequestRecord>,
}

impl WorldObserve {
    /// How long until the stable version's pages reach back `window_s` [ms]; 0 when they do.
    ///
    /// Errors: [`Error::Unreachable`] when it has no pages and will have none.
    fn missing_ms(&self, window_s: f64) -> Result<u64, Error> {
        let state = self.0.lock();
        let fleet = &state.fleet;
        let mut missing_s = 0.0_f64;
        for server in fleet.stable() {
            answers(server, fleet.now_s)?;
            let oldest_s = server.history.oldest_s().unwrap_or(fleet.now_s + SCRAPE_EVERY_S);
            missing_s = missing_s.max(oldest_s + window_s - fleet.now_s);
        }
        Ok((missing_s * 1000.0).ceil() as u64)
    }

    fn look(&self, from: Millis, to: Millis) -> Look {
        let state = self.0.lock();
        let fleet = &state.fleet;
        let stable = fleet.stable();
        let config = stable.first().map(|server| server.running.config.clone());
        let indices: Vec<usize> = stable.iter().map(|server| server.index).collect();
        Look {
            pages: pages(fleet, &stable, from, to),
            cx: ObserveContext {
                deployment: fleet.spec.deployment.clone(),
                config: config.unwrap_or_default(),
            },
            clients: fleet.records.between((from, to), &indices).into_iter().cloned().collect(),
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
        if window_s > KEPT_S {
            return Err(Error::NotEnoughHistory { needed_s: window_s, have_s: KEPT_S });
        }
        let clock = self.0.clock();
        let missing_ms = self.missing_ms(window_s)?;
        if missing_ms > 0 {
            clock.sleep_ms(missing_ms).await;
        }
        let now = self.0.now();
        let from = Millis(now.0.saturating_sub((window_s * 1000.0) as u64));
        let look = self.look(from, now);
        let mut seen = dialect(EngineKind::Vllm).observe(&look.pages, &look.cx)?;
        let clients: Vec<&RequestRecord> = look.clients.iter().collect();
        seen.client = Some(RequestStats::of(&clients, window_s, objective));
        seen.gpus = super::gpus::WorldGpus(self.0.clone()).read().await?;
        Ok(seen)
    }

    async fn series(&self, window_s: f64, step_s: f64) -> Result<Vec<Observation>, Error> {
        let now = self.0.now();
        let step_ms = (step_s.max(SCRAPE_EVERY_S) * 1000.0) as u64;
        let steps = (window_s * 1000.0) as u64 / step_ms;
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

/// Errors: [`Error::Unreachable`] when a server's last scrapes failed.
fn answers(server: &Server, now_s: f64) -> Result<(), Error> {
    let silent_s = server.history.newest_s().map_or(0.0, |newest_s| now_s - newest_s);
    if silent_s <= MISSED_SCRAPES * SCRAPE_EVERY_S && !server.is_dead() {
        return Ok(());
    }
    Err(Error::Unreachable {
        endpoint: server.running.backend.url.clone(),
        detail: "connection refused".to_owned(),
    })
}

fn pages(fleet: &Fleet, servers: &[&Server], from: Millis, to: Millis) -> Vec<Page> {
    let seconds = |at: Millis| at.since(fleet.spec.start) as f64 / 1000.0;
    let window_s = (seconds(from), seconds(to));
    let moment = |at_s| fleet.moment(at_s);
    let of =
        |server: &&Server| server.history.pages(window_s, server.id(), &server.identity, moment);
    servers.iter().flat_map(of).collect()
}
