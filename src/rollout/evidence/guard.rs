//! Everything that is tested about one guarded metric.

use serde::{Deserialize, Serialize};

use super::betting::{Comparison, Direction, Draw};
use super::exceedance::Exceedance;
use super::outcome::{Centre, Outcome};
use super::whole::Frozen;
use crate::domain::{Arm, Guard, GuardRule, Metric, RequestRecord};

/// Share of sessions beyond a p95.
const BEYOND_P95: f64 = 0.05;
/// Stable beyond this multiple of its own p95 is an incident, whatever the canary does.
const INCIDENT_FACTOR: f64 = 2.0;

/// The tests of one guard.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuardTests {
    /// Guarded metric.
    pub metric: Metric,
    /// Present for a `not_worse` guard.
    pub compared: Option<Compared>,
    /// Present for a `within` guard, while stable still serves a share.
    pub within: Option<Bound>,
    /// With the canary serving everyone there is nothing to compare with: an absolute bound.
    pub full: Option<Bound>,
    /// Stable's own misses of twice its frozen p95.
    pub incident: Option<Bound>,
}

/// The canary against stable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compared {
    centre: Centre,
    /// p95 of stable, frozen [ms].
    tail_ms: Option<f64>,
    /// Smallest probability at which the canary carries as much load per backend as stable.
    fair_probability: f64,
    /// Worse by more than the tolerance?
    pub harm: Comparison,
    /// Proven under the margin?
    pub promotion: Comparison,
}

/// Misses of an absolute bound.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bound {
    /// The bound [ms].
    pub limit_ms: f64,
    /// Its test.
    pub test: Exceedance,
}

impl Bound {
    fn new(limit_ms: f64, miss_ratio_max: f64) -> Self {
        Self { limit_ms, test: Exceedance::misses(miss_ratio_max) }
    }
}

impl GuardTests {
    /// Nothing seen yet. `parts`: compared shares of the plan.
    pub fn new(guard: &Guard, frozen: &Frozen, fair_probability: f64, parts: usize) -> Self {
        let reading = frozen.reading(guard.metric);
        let incident = reading.p95_ms.map(|p95| Bound::new(p95 * INCIDENT_FACTOR, BEYOND_P95));
        match guard.rule {
            GuardRule::NotWorse { tolerance, margin } => Self {
                metric: guard.metric,
                compared: Some(Compared {
                    centre: Centre::starting_at(reading.p50_ms),
                    tail_ms: reading.p95_ms,
                    fair_probability,
                    harm: Comparison::new(Direction::Harm, 1.0 + tolerance, parts),
                    promotion: Comparison::new(Direction::Promotion, 1.0 + margin, 1),
                }),
                within: None,
                full: reading.p95_ms.map(|p95| Bound::new(p95 * (1.0 + margin), BEYOND_P95)),
                incident,
            },
            GuardRule::Within { limit_ms, miss_ratio_max } => Self {
                metric: guard.metric,
                compared: None,
                within: Some(Bound::new(limit_ms, miss_ratio_max)),
                full: Some(Bound::new(limit_ms, miss_ratio_max)),
                incident,
            },
        }
    }

    /// A further share begins.
    pub fn begin_step(&mut self) {
        if let Some(compared) = &mut self.compared {
            compared.harm.begin_part();
            compared.promotion.begin_part();
        }
    }

    /// Folds the first request of a randomized session. `load_is_comparable`: absolute bounds apply.
    pub fn fold(&mut self, first: &RequestRecord, load_is_comparable: bool) {
        let centre_ln = self.compared.as_ref().and_then(|compared| compared.centre.ln());
        let Some(outcome) = Outcome::of(first, self.metric, centre_ln.map(f64::exp)) else { return };
        let probability = first.canary_probability;
        if let Some(compared) = &mut self.compared {
            compared.fold(first.arm == Arm::Canary, probability, outcome, centre_ln);
        }
        let bound = match (first.arm, probability >= 1.0) {
            (Arm::Stable, _) => self.incident.as_mut(),
            (Arm::Canary, false) => self.within.as_mut(),
            (Arm::Canary, true) => self.full.as_mut().filter(|_| load_is_comparable),
        };
        if let Some(bound) = bound {
            bound.test.observe(outcome.misses(bound.limit_ms));
        }
    }

    /// Forgets stable's incident: a person looked at it.
    pub fn clear_incident(&mut self) {
        if let Some(bound) = &mut self.incident {
            bound.test = Exceedance::misses(BEYOND_P95);
        }
    }
}

impl Compared {
    fn fold(&mut self, on_canary: bool, probability: f64, outcome: Outcome, centre: Option<f64>) {
        // A session that could not have gone to the other arm says nothing about the arms.
        if let Some(centre_ln) = centre.filter(|_| probability > 0.0 && probability < 1.0) {
            let draw = Draw { on_canary, probability };
            self.harm.observe(draw, outcome, centre_ln, self.tail_ms);
            if probability >= self.fair_probability {
                self.promotion.observe(draw, outcome, centre_ln, self.tail_ms);
            }
        }
        self.centre.note(outcome);
    }
}
