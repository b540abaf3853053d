//! What tools act on: the deployments of the moment. Those of the config file stay, others may come and go while the agent runs.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use crate::serving::Target;

/// Deployments by name.
pub type ByName = BTreeMap<String, Target>;

/// The deployments of the moment.
#[derive(Default)]
pub struct Targets {
    now: RwLock<Arc<ByName>>,
}

impl Targets {
    /// These, for now.
    pub fn new(targets: ByName) -> Self {
        Self { now: RwLock::new(Arc::new(targets)) }
    }

    /// Those that are there now. A call keeps the ones it began with.
    pub fn now(&self) -> Arc<ByName> {
        self.now.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Adds one, or replaces the one of its name.
    pub fn put(&self, target: Target) {
        let mut now = self.now.write().unwrap_or_else(PoisonError::into_inner);
        Arc::make_mut(&mut now).insert(target.deployment.name.clone(), target);
    }

    /// Forgets one.
    pub fn remove(&self, name: &str) {
        let mut now = self.now.write().unwrap_or_else(PoisonError::into_inner);
        Arc::make_mut(&mut now).remove(name);
    }
}
