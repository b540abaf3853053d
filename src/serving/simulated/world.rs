//! A world that can be held: its fleet under a lock, its clock, its journal, and the target it presents.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::action::{Action, Line};
use super::clock::{Sleepers, WorldClock};
use super::driver::Driver;
use super::fleet::Fleet;
use super::gpus::WorldGpus;
use super::journal::Journal;
use super::launcher::WorldLauncher;
use super::observe::WorldObserve;
use super::page::Snapshot;
use super::spec::WorldSpec;
use super::traffic::WorldTraffic;
use crate::base::{Clock, Millis};
use crate::domain::{Deployment, EngineKind};
use crate::serving::{Error, Target};
use crate::sim;

/// A simulated world.
pub struct World {
    spec: WorldSpec,
    state: Mutex<State>,
    pub(super) sleepers: Sleepers,
}

/// What the lock guards.
pub(super) struct State {
    pub(super) fleet: Fleet,
    /// The end of the warm-up [s], while nobody has looked: then it is not lived yet.
    warm_at_s: Option<f64>,
    journal: Option<Journal>,
    /// Writing the journal failed when time passed, where there was nobody to tell.
    broken: Option<Error>,
}

impl State {
    /// Writes an action down, then does it.
    ///
    /// Errors: [`Error::Io`] of the journal; nothing was done then.
    pub(super) fn perform(&mut self, action: Action) -> Result<(), Error> {
        if let Some(error) = self.broken.take() {
            return Err(error);
        }
        let at_ms = (self.fleet.now_s * 1000.0).round() as u64;
        self.write(at_ms, &action)?;
        self.fleet.perform(&action);
        Ok(())
    }

    fn write(&mut self, at_ms: u64, action: &Action) -> Result<(), Error> {
        let Some(journal) = &mut self.journal else { return Ok(()) };
        let ended = self.fleet.records.total();
        journal.append(&Line { at_ms, ended, action: action.clone() })
    }
}

impl World {
    /// A world after its warm-up, or, with a journal that holds something, where the journal left it.
    ///
    /// Errors: [`Error::InvalidWorld`]; [`Error::StartFailed`] when the start config cannot run; [`Error::Corrupt`] and
    /// [`Error::Io`] of the journal.
    pub fn open(spec: WorldSpec, journal: Option<PathBuf>) -> Result<Arc<Self>, Error> {
        let mut fleet = Fleet::new(spec.clone())?;
        // Whole milliseconds: every action happens at one, and the journal counts in them.
        let mut warm_at_s = Some((spec.warmup_s * 1000.0).round() / 1000.0);
        let is_told = |path: &PathBuf| std::fs::metadata(path).is_ok_and(|file| file.len() > 0);
        // The warm-up takes longer than all else a server does before it answers: it waits until somebody looks.
        if journal.as_ref().is_some_and(is_told)
            && let Some(at_s) = warm_at_s.take()
        {
            fleet.advance_to(at_s);
        }
        let journal = journal.map(|path| Journal::open(&path, &mut fleet)).transpose()?;
        let state = Mutex::new(State { fleet, warm_at_s, journal, broken: None });
        Ok(Arc::new(Self { spec, state, sleepers: Sleepers::default() }))
    }

    /// The world's clock: sleeping on it lets the world live.
    pub fn clock(self: &Arc<Self>) -> Arc<dyn Clock> {
        Arc::new(WorldClock(self.clone()))
    }

    /// The deployment and everything that can be done to it. Its config is the one that serves users now.
    pub fn target(self: &Arc<Self>) -> Target {
        let spec = &self.spec;
        let (config, replicas) = {
            // The same before the warm-up and after it: nobody has acted yet.
            let state = self.peek();
            let stable = state.fleet.stable();
            let config = stable.first().map(|server| server.running.config.clone());
            (config.unwrap_or_else(|| spec.config.clone()), stable.len().max(1) as u32)
        };
        Target {
            deployment: Deployment {
                name: spec.deployment.clone(),
                engine: EngineKind::Vllm,
                served_model: spec.model.clone(),
                model: sim::model(&spec.model),
                gpu: sim::gpu(&spec.gpu),
                gpus: spec.gpus,
                replicas,
                config,
                limits: spec.limits,
            },
            observe: Arc::new(WorldObserve(self.clone())),
            launcher: Some(Arc::new(WorldLauncher(self.clone()))),
            traffic: Some(Arc::new(WorldTraffic(self.clone()))),
            load: Some(Arc::new(Driver(self.clone()))),
            gpus: Arc::new(WorldGpus(self.clone())),
        }
    }

    /// What `GET /metrics` of a server says now; `None` when it does not answer.
    pub fn page(&self, backend: &str) -> Option<String> {
        let state = self.lock();
        let now_s = state.fleet.now_s;
        let server = state.fleet.server(backend).filter(|server| server.takes(now_s))?;
        let snapshot = Snapshot::of(now_s, &server.replica, &server.counters);
        Some(snapshot.render(&server.identity))
    }

    /// The world as it lives.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        let mut state = self.peek();
        if let Some(at_s) = state.warm_at_s.take() {
            state.fleet.advance_to(at_s);
        }
        state
    }

    /// The world, perhaps before its warm-up.
    fn peek(&self) -> MutexGuard<'_, State> {
        // A panic while the lock was held left a fleet that is whole: every mutation ends in a valid state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now(&self) -> Millis {
        let state = self.peek();
        state.fleet.moment(state.warm_at_s.unwrap_or(state.fleet.now_s))
    }

    /// Lets the world live until `at`. Written down first: what anyone has seen, a later life will see again.
    pub(super) fn pass_until(&self, at: Millis) {
        let mut state = self.lock();
        let at_ms = at.since(self.spec.start);
        let at_s = at_ms as f64 / 1000.0;
        if at_s <= state.fleet.now_s {
            return;
        }
        if let Err(error) = state.write(at_ms, &Action::Pass) {
            tracing::error!(%error, "the world's journal cannot be written: nothing more can be done to it");
            state.broken = Some(error);
        }
        state.fleet.advance_to(at_s);
    }
}
