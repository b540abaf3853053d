//! What control actions do to a fleet.

use super::action::Action;
use super::fault::forbidden;
use super::fleet::{Fleet, Launched};
use super::load::Load;
use super::server::{Server, Start};
use super::start_up;
use crate::base::EffectKey;
use crate::domain::{Knob, ServingConfig};
use crate::serving::{Error, Purpose};

/// Devices a config takes.
pub(super) fn devices(config: &ServingConfig) -> u32 {
    let split = config.int(Knob::TensorParallelSize).unwrap_or(1).max(1);
    u32::try_from(split).unwrap_or(u32::MAX)
}

impl Fleet {
    /// Does what a journal line says, now.
    pub(super) fn perform(&mut self, action: &Action) {
        let now_s = self.now_s;
        match action {
            Action::World { .. } | Action::Pass => {}
            Action::Launch { key, config, purpose } => self.launch(key, config, *purpose),
            Action::Assign { backend, purpose } => {
                if let Some(server) = self.server_mut(backend) {
                    server.running.purpose = *purpose;
                }
            }
            Action::Stop { backend } => {
                let cut = self.server_mut(backend).map(|server| server.stop(now_s));
                self.note(cut.unwrap_or_default());
            }
            Action::Apply { table } => self.plane.apply(table.clone(), now_s),
            Action::Renew => self.plane.renew(now_s),
            Action::Drive { name, backend, load } => {
                self.loads.push(Load::new(name, backend, load, now_s));
            }
        }
    }

    fn server_mut(&mut self, id: &str) -> Option<&mut Server> {
        self.servers.iter_mut().find(|server| server.id() == id)
    }

    /// Starts a server, or notes why it cannot start. A config that is refused says so at once; one that a fault
    /// forbids dies where it would have become ready.
    fn launch(&mut self, key: &EffectKey, config: &ServingConfig, purpose: Purpose) {
        let ready_s = self.now_s + self.spec.start_up_s;
        let (known_s, started) = match forbidden(&self.spec.faults, config) {
            Some(setting) => (ready_s, Err(start_up::forbidden(setting))),
            None => match self.start(key, config, purpose, ready_s) {
                Ok(server) => (ready_s, Ok(server)),
                Err(error) => (self.now_s, Err(error)),
            },
        };
        let outcome = match started {
            Ok(server) => {
                self.servers.push(server);
                Ok(self.servers.len() - 1)
            }
            Err(Error::StartFailed { reason, last_lines }) => Err((reason, last_lines)),
            Err(other) => Err((other.to_string(), Vec::new())),
        };
        self.launches.insert(key.clone(), Launched { known_s, outcome });
    }

    fn start(
        &self,
        key: &EffectKey,
        config: &ServingConfig,
        purpose: Purpose,
        ready_s: f64,
    ) -> Result<Server, Error> {
        let taken: Vec<u32> =
            self.servers.iter().filter(|s| s.is_there()).flat_map(|s| s.gpus.clone()).collect();
        let free: Vec<u32> = (0..self.spec.gpus).filter(|gpu| !taken.contains(gpu)).collect();
        let needed = devices(config);
        let Some(gpus) = free.get(..needed as usize) else {
            return Err(start_up::no_room(needed, free.len() as u32, self.spec.gpus));
        };
        let start = Start {
            index: self.servers.len(),
            key,
            config,
            purpose,
            gpus: gpus.to_vec(),
            at_s: self.now_s,
            ready_s,
        };
        Server::start(&self.spec, start)
    }
}
