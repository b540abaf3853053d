//! The world's data plane: the table in force, its lease, and who was dealt what.

use super::assignment::{Place, share, tries};
use super::server::Dealt;
use super::sessions::Sessions;
use crate::domain::{Arm, ArmWeight, Backend, TrafficTable};
use crate::serving::Error;

/// Pause between two looks at a stable arm that is down when the lease has ended [s].
const RETRY_S: f64 = 1.0;

/// A data plane, as `proxy` is one.
#[derive(Debug, Clone)]
pub(super) struct Plane {
    table: TrafficTable,
    /// When the lease ends [s since the world's start].
    lease_until_s: Option<f64>,
    sessions: Sessions,
}

impl Plane {
    /// Everyone on one backend.
    pub(super) fn new(stable: Backend) -> Self {
        let table = TrafficTable {
            generation: 1,
            salt: "initial".to_owned(),
            stable: ArmWeight { arm: Arm::Stable, backends: vec![stable] },
            canary: None,
            canary_percent: 0.0,
            lease_ms: None,
        };
        Self { table, lease_until_s: None, sessions: Sessions::default() }
    }

    pub(super) fn table(&self) -> &TrafficTable {
        &self.table
    }

    pub(super) fn lease_until_s(&self) -> Option<f64> {
        self.lease_until_s
    }

    /// Whether `table` may replace the one in force. Returns false when it is in force already.
    ///
    /// Errors: [`Error::StaleGeneration`]; [`Error::BadAnswer`] for a table no plane would take.
    pub(super) fn accepts(&self, table: &TrafficTable) -> Result<bool, Error> {
        if *table == self.table {
            return Ok(false);
        }
        if table.generation <= self.table.generation {
            let (held, offered) = (self.table.generation, table.generation);
            return Err(Error::StaleGeneration { held, offered });
        }
        let invalid = |detail: &str| {
            let endpoint = "the simulated data plane".to_owned();
            Err(Error::BadAnswer { endpoint, status: 400, detail: detail.to_owned() })
        };
        if table.stable.backends.is_empty() {
            return invalid("the stable arm has no backend");
        }
        if !(0.0..=100.0).contains(&table.canary_percent) {
            return invalid("canary_percent must lie in 0 to 100");
        }
        let canary = table.canary.as_ref().is_some_and(|arm| !arm.backends.is_empty());
        if table.canary_percent > 0.0 && !canary {
            return invalid("canary_percent is above 0 and there is no canary");
        }
        Ok(true)
    }

    /// Puts a table in force; its lease begins.
    pub(super) fn apply(&mut self, table: TrafficTable, now_s: f64) {
        self.table = table;
        self.renew(now_s);
    }

    /// Begins the lease anew.
    pub(super) fn renew(&mut self, now_s: f64) {
        let lease_s = self.table.lease_ms.map(|ms| ms as f64 / 1000.0);
        self.lease_until_s = lease_s.map(|lease_s| now_s + lease_s);
    }

    /// The lease has ended: everyone returns to stable under a new generation, if stable is healthy. While it is not,
    /// the canary keeps its users, for it may be the only one alive.
    pub(super) fn lapse(&mut self, stable_is_healthy: bool, now_s: f64) {
        if !stable_is_healthy {
            self.lease_until_s = Some(now_s + RETRY_S);
            return;
        }
        self.table.generation += 1;
        self.table.canary_percent = 0.0;
        self.table.lease_ms = None;
        self.lease_until_s = None;
    }

    /// Deals a user's request: how, and the backends it tries in turn.
    pub(super) fn deal(&mut self, session: u64) -> (Dealt, Vec<(Arm, String)>) {
        let place = Place::of(&self.table.salt, &format!("user-{session}"));
        let share = share(&self.table);
        let arm = place.arm(share);
        let (probability, first_turn) = self.sessions.see(&self.table.salt, session, share);
        let backends = tries(&self.table, &place, arm);
        let backends = backends.into_iter().map(|(arm, id)| (arm, id.to_owned())).collect();
        let session = place.session;
        (Dealt { session, arm, probability, first_turn, randomized: true }, backends)
    }
}
