//! The only place that builds things.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::added::Added;
use super::catalogue::Shelf;
use super::up::Host;
use super::{Error, Settings, models, sources, targets};
use crate::base::{Clock, Millis, SeededRng, SystemClock, ThreadId, stable_hash};
use crate::domain::Objective;
use crate::engine::Local;
use crate::nodes::{Check, Factory, Parts};
use crate::runtime::{Runtime, RuntimeParts};
use crate::store;
use crate::tools::{Registry, Services, Targets};

/// Longest answer of one generation [tokens]: it is reserved against the provider's token rate.
const COMPLETION_TOKENS_MAX: u32 = 2_000;

/// Everything an agent is made of.
pub(super) struct Assembled {
    pub(super) runtime: Runtime,
    /// Wakes its threads.
    pub(super) engine: Arc<Local>,
    pub(super) registry: Arc<Registry>,
    /// Graphs and prompts of the moment.
    pub(super) shelf: Shelf,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) model_line: String,
    pub(super) store: store::Store,
    pub(super) simulated: bool,
    pub(super) hosts: Vec<Host>,
    /// Deployments that the config file does not declare.
    pub(super) added: Added,
    rng: Mutex<SeededRng>,
}

impl Assembled {
    /// An id for a new thread.
    pub(super) fn fresh_thread(&self, now: Millis) -> ThreadId {
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        ThreadId::fresh(now, &mut *rng)
    }
}

/// Puts an agent together. `scope` names its simulated world.
pub(super) async fn assemble(
    settings: &Settings,
    store: store::Store,
    scope: &str,
) -> Result<Assembled, Error> {
    let manifests = sources::manifests(settings.tools.as_deref())?;
    let chosen = models::choose(&settings.model, settings.seed)?;
    let fleet = targets::fleet(settings, scope).await?;
    let services = Services {
        targets: Arc::new(Targets::new(fleet.targets)),
        documents: store.documents.clone(),
        clock: fleet.clock.clone(),
        fleet: if fleet.simulated { scope.to_owned() } else { "this host".to_owned() },
        seed: settings.seed,
        rollout: settings.config.rollout.clone(),
        trial: settings.config.trial.clone(),
        windows: settings.config.windows,
    };
    let registry = Arc::new(Registry::new(services, manifests)?);
    let shelf = Shelf::read(settings, &registry)?;
    let nodes = Factory::new(Parts {
        registry: registry.clone(),
        model: chosen.model,
        system_prompt: shelf.system(),
        completion_tokens_max: COMPLETION_TOKENS_MAX,
        checks: BTreeMap::from([("Objective".to_owned(), objective as Check)]),
    });
    // A store that fails does so in real time, whatever the fleet's clock.
    let engine = Local::new(store.checkpoints.clone(), fleet.clock.clone());
    let engine = Arc::new(engine.with_pauses(Arc::new(SystemClock)));
    let runtime = Runtime::new(RuntimeParts {
        store: store.checkpoints.clone(),
        nodes: Arc::new(nodes),
        clock: fleet.clock.clone(),
        rng_seed: unique_seed(),
        engine: Some(engine.clone()),
    });
    let (clock, simulated, hosts) = (fleet.clock, fleet.simulated, fleet.hosts);
    let model_line = chosen.line;
    let rng = Mutex::new(SeededRng::stream(unique_seed(), "thread ids"));
    Ok(Assembled {
        runtime,
        engine,
        registry,
        shelf,
        clock,
        model_line,
        store,
        simulated,
        hosts,
        added: Added::default(),
        rng,
    })
}

/// An objective that nobody can work towards is no answer, whoever gave it.
fn objective(value: &serde_json::Value) -> Result<(), String> {
    let objective: Objective =
        serde_json::from_value(value.clone()).map_err(|error| error.to_string())?;
    objective.check()
}

/// Ids of runs must differ between processes that share a store, whatever the seed of the fleet.
pub(super) fn unique_seed() -> u64 {
    let hash = stable_hash(&[
        "process",
        &SystemClock.now().0.to_string(),
        &std::process::id().to_string(),
    ]);
    u64::from_str_radix(&hash[..16], 16).unwrap_or(0)
}
