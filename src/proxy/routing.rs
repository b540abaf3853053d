//! The table in force: compiled, swapped as a whole, durable, and held under a lease.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;
use tokio::sync::watch;

use crate::base::{Clock, Millis};
use crate::domain::{Arm, ArmWeight, TrafficTable};

use super::assignment::{Place, rank};
use super::backends::{BackendState, Backends};
use super::sessions::Sessions;
use super::{Error, state_file};

/// Backends of one arm that a request tries.
const TRIES_PER_ARM: usize = 2;

/// A table, ready to route by.
#[derive(Debug)]
pub struct Routing {
    /// As it was given.
    pub table: TrafficTable,
    stable: Vec<Arc<BackendState>>,
    canary: Vec<Arc<BackendState>>,
    sessions: Arc<Sessions>,
}

/// Where one request goes, and what is logged about why.
#[derive(Debug, Clone)]
pub struct Assigned {
    /// The arm.
    pub arm: Arm,
    /// Canary probability at the session's start, 0–1.
    pub canary_probability: f64,
    /// Hash of the session.
    pub session: String,
    /// First request of the session under this salt.
    pub first_turn: bool,
    /// False when a header chose the arm.
    pub randomized: bool,
    spread: u64,
}

/// One backend to try.
#[derive(Debug)]
pub struct Try {
    /// The arm it belongs to.
    pub arm: Arm,
    /// The backend.
    pub backend: Arc<BackendState>,
}

impl Routing {
    /// Deals a request. `lasting` is false for a key that will not come again: it is not remembered.
    pub fn assign(&self, key: &str, lasting: bool, forced: Option<Arm>) -> Assigned {
        let weight = self.canary_weight();
        let place = Place::of(&self.table.salt, key);
        let (mut canary_probability, mut first_turn) = (weight, true);
        if lasting {
            let start = self.sessions.note(place.spread, weight);
            (canary_probability, first_turn) = (start.canary_probability, start.first_turn);
        }
        // A forced canary without one in the table is served by stable, and is no evidence either.
        let forced_arm = forced.map(|arm| if self.canary.is_empty() { Arm::Stable } else { arm });
        Assigned {
            arm: forced_arm.unwrap_or_else(|| place.arm(weight)),
            canary_probability,
            first_turn,
            randomized: forced.is_none(),
            spread: place.spread,
            session: place.session,
        }
    }

    /// Backends to try in order: the session's own, another of its arm, and stable ones behind a canary.
    pub fn tries(&self, assigned: &Assigned) -> Vec<Try> {
        let mut tries = Vec::with_capacity(2 * TRIES_PER_ARM);
        self.push_tries(&mut tries, assigned.arm, assigned.spread);
        if assigned.arm == Arm::Canary {
            self.push_tries(&mut tries, Arm::Stable, assigned.spread);
        }
        tries
    }

    fn push_tries(&self, tries: &mut Vec<Try>, arm: Arm, spread: u64) {
        let backends = match arm {
            Arm::Stable => &self.stable,
            Arm::Canary => &self.canary,
        };
        let order = rank(spread, backends.iter().map(|backend| backend.hash));
        tries.extend(
            order
                .into_iter()
                .take(TRIES_PER_ARM)
                .map(|index| Try { arm, backend: Arc::clone(&backends[index]) }),
        );
    }

    /// The stable backends.
    pub fn stable(&self) -> &[Arc<BackendState>] {
        &self.stable
    }

    /// Share of sessions on the canary, 0–1.
    pub fn canary_weight(&self) -> f64 {
        if self.canary.is_empty() { 0.0 } else { self.table.canary_percent / 100.0 }
    }
}

/// Owner of the table in force.
pub struct Router {
    current: ArcSwapOption<Routing>,
    backends: Backends,
    state_file: PathBuf,
    clock: Arc<dyn Clock>,
    lease_until: watch::Sender<Option<Millis>>,
    /// One change at a time.
    changing: Mutex<()>,
}

impl Router {
    /// Starts with the table of `state_file`, if there is one; its lease begins anew.
    ///
    /// Errors: [`Error::StateFile`] and [`Error::InvalidTable`] when the file is damaged.
    pub fn open(state_file: PathBuf, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let router = Self {
            current: ArcSwapOption::empty(),
            backends: Backends::default(),
            state_file,
            clock,
            lease_until: watch::Sender::new(None),
            changing: Mutex::new(()),
        };
        if let Some(table) = state_file::load(&router.state_file)? {
            let routing = router.compile(table)?;
            router.put_in_force(routing);
        }
        Ok(router)
    }

    /// The table in force; `None` before the first one.
    pub fn current(&self) -> Option<Arc<Routing>> {
        self.current.load_full()
    }

    /// Every backend known, for its requests under way.
    pub fn backends(&self) -> &Backends {
        &self.backends
    }

    /// Makes `table` durable and puts it in force. The same one again only renews its lease. Blocks on the disk.
    ///
    /// Errors: [`Error::InvalidTable`], [`Error::StaleGeneration`], [`Error::StateFile`]; nothing changed then.
    pub fn apply(&self, table: TrafficTable) -> Result<(), Error> {
        let _one = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = self.current() {
            if held.table == table {
                self.renew();
                return Ok(());
            }
            if table.generation <= held.table.generation {
                let (held, offered) = (held.table.generation, table.generation);
                return Err(Error::StaleGeneration { held, offered });
            }
        }
        let routing = self.compile(table)?;
        state_file::save(&self.state_file, &routing.table)?;
        self.put_in_force(routing);
        Ok(())
    }

    /// Begins the lease of the table in force anew.
    pub fn renew(&self) {
        let lease = self.current().and_then(|routing| routing.table.lease_ms);
        self.lease_until.send_replace(lease.map(|ms| self.clock.now().plus(ms)));
    }

    /// The moment at which the lease ends, as it changes.
    pub fn lease(&self) -> watch::Receiver<Option<Millis>> {
        self.lease_until.subscribe()
    }

    /// Sends everyone to stable, if the lease has really run out: generation + 1, weight 0, no lease.
    /// Returns whether it did. In force even when the disk fails: users come first.
    pub fn revert_if_expired(&self) -> bool {
        let _one = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let expired = self.lease_until.borrow().is_some_and(|until| self.clock.now() >= until);
        let Some(held) = self.current().filter(|_| expired) else { return false };
        let mut table = held.table.clone();
        table.generation += 1;
        table.canary_percent = 0.0;
        table.lease_ms = None;
        if let Err(error) = state_file::save(&self.state_file, &table) {
            tracing::error!(%error, "the reverted table is in force but not durable");
        }
        match self.compile(table) {
            Ok(routing) => self.put_in_force(routing),
            // Its backends are those of the table that was compiled before.
            Err(error) => tracing::error!(%error, "the reverted table does not compile"),
        }
        true
    }

    fn compile(&self, table: TrafficTable) -> Result<Routing, Error> {
        validate(&table)?;
        let canary = table.canary.as_ref().map_or(&[][..], |arm| arm.backends.as_slice());
        let stable = self.backends.resolve(&table.stable.backends)?;
        let canary = self.backends.resolve(canary)?;
        let same_salt = self.current().filter(|held| held.table.salt == table.salt);
        let sessions = same_salt.map_or_else(Default::default, |held| Arc::clone(&held.sessions));
        Ok(Routing { table, stable, canary, sessions })
    }

    fn put_in_force(&self, routing: Routing) {
        self.current.store(Some(Arc::new(routing)));
        self.renew();
    }
}

/// Errors: [`Error::InvalidTable`] with the first contradiction.
fn validate(table: &TrafficTable) -> Result<(), Error> {
    let invalid = |why: String| Err(Error::InvalidTable(why));
    if !(0.0..=100.0).contains(&table.canary_percent) {
        return invalid(format!("canary_percent is {}, expected 0 to 100", table.canary_percent));
    }
    if table.canary_percent > 0.0 && table.canary.is_none() {
        return invalid(format!("{} % go to a canary that is not there", table.canary_percent));
    }
    let mut ids = BTreeSet::new();
    let arms = [(Arm::Stable, Some(&table.stable)), (Arm::Canary, table.canary.as_ref())];
    for (arm, given) in arms {
        let Some(ArmWeight { arm: said, backends }) = given else { continue };
        if *said != arm {
            return invalid(format!("the {arm:?} arm says that it is {said:?}"));
        }
        if backends.is_empty() {
            return invalid(format!("the {arm:?} arm has no backend"));
        }
        if let Some(twice) = backends.iter().find(|backend| !ids.insert(backend.id.as_str())) {
            return invalid(format!("backend `{}` is there twice", twice.id));
        }
    }
    Ok(())
}
