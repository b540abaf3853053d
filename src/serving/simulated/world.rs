//! A world that can be held: its fleet under a lock, its clock, its journal, and the target it presents.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::action::{Action, Line};
use super::clock::WorldClock;
use super::driver::Driver;
use super::fleet::Fleet;
use super::journal::Journal;
use super::launcher::WorldLauncher;
use super::observe::{WorldGpus, WorldObserve};
use super::spec::WorldSpec;
use super::traffic::WorldTraffic;
use crate::base::{Clock, Millis};
use crate::domain::{Deployment, EngineKind};
use crate::serving::{Error, Purpose, Target};
use crate::sim;

/// A simulated world.
pub struct World {
    spec: WorldSpec,
    state: Mutex<State>,
}

pub(super) struct State {
    pub(super) fleet: Fleet,
    journal: Option<Journal>,
}

impl State {
    /// Writes an action down, then does it.
    pub(super) fn perform(&mut self, action: Action) -> Result<(), Error> {
        if let Some(journal) = &mut self.journal {
            let at_ms = (self.fleet.now_s * 1000.0).round() as u64;
            journal.append(&Line { at_ms, action: action.clone() })?;
        }
        self.fleet.perform(&action);
        Ok(())
    }
}

impl World {
    /// A world after its warm-up, or, with a journal that holds something, where the journal left it.
    ///
    /// Errors: [`Error::StartFailed`] when the start config cannot run; [`Error::Corrupt`] and [`Error::Io`] of the journal.
    pub fn open(spec: WorldSpec, journal: Option<PathBuf>) -> Result<Arc<Self>, Error> {
        let mut fleet = Fleet::new(spec.clone())?;
        fleet.advance_to(spec.warmup_s);
        let journal = match journal {
            None => None,
            Some(path) => {
                let (journal, lines) = Journal::open(&path, &spec.fingerprint())?;
                for line in &lines {
                    fleet.advance_to(line.at_ms as f64 / 1000.0);
                    fleet.perform(&line.action);
                }
                Some(journal)
            }
        };
        Ok(Arc::new(Self { spec, state: Mutex::new(State { fleet, journal }) }))
    }

    /// The world's clock: sleeping on it lets the world live.
    pub fn clock(self: &Arc<Self>) -> Arc<dyn Clock> {
        Arc::new(WorldClock(self.clone()))
    }

    /// The deployment and everything that can be done to it. The config is the one that serves users now.
    pub fn target(self: &Arc<Self>) -> Target {
        let spec = &self.spec;
        let stable = self.lock().fleet.backends_of(Purpose::Stable);
        let config = stable.first().and_then(|backend| {
            self.lock().fleet.server(&backend.id).map(|server| server.running.config.clone())
        });
        Target {
            deployment: Deployment {
                name: spec.deployment.clone(),
                engine: EngineKind::Vllm,
                served_model: spec.model.clone(),
                model: sim::model(&spec.model),
                gpu: sim::gpu(&spec.gpu),
                gpus: spec.gpus,
                replicas: stable.len().max(1) as u32,
                config: config.unwrap_or_else(|| spec.config.clone()),
                limits: spec.limits,
            },
            observe: Arc::new(WorldObserve(self.clone())),
            launcher: Some(Arc::new(WorldLauncher(self.clone()))),
            traffic: Some(Arc::new(WorldTraffic(self.clone()))),
            load: Some(Arc::new(Driver(self.clone()))),
            gpus: Arc::new(WorldGpus),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while the lock was held left a fleet that is whole: every mutation ends in a valid state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now(&self) -> Millis {
        let state = self.lock();
        state.fleet.moment(state.fleet.now_s)
    }

    /// Lets the world live until `at`, and writes down that it did.
    pub(super) fn pass_until(&self, at: Millis) {
        let mut state = self.lock();
        let at_ms = at.since(self.spec.start);
        if at_ms as f64 / 1000.0 <= state.fleet.now_s {
            return;
        }
        state.fleet.advance_to(at_ms as f64 / 1000.0);
        if let Some(journal) = &mut state.journal {
            // Losing a moment is harmless: whoever waited for it waits again.
            if let Err(error) = journal.append(&Line { at_ms, action: Action::Pass }) {
                tracing::warn!(%error, "the world's journal could not be written");
            }
        }
    }
}
