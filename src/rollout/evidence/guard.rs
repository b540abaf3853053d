//! Everything that is tested about one guarded metric.

use serde::{Deserialize, Serialize};

use super::betting::{Comparison, Direction, Draw};
use super::exceedance::Exceedance;
use super::outcome::{Outcome, Past, Ruler};
use super::sketch::Sketch;
use super::whole::Frozen;
use crate::domain::{Arm, Guard, GuardRule, Metric, RequestRecord};

/// Share of sessions beyond a p95.
const BEYOND_P95: f64 = 0.05;
/// Of the sessions served by a canary alone this share may be beyond stable's p95 plus the margin: twice as many, because
/// nothing is left that shows whether the load or the canary did it.
const FULL_MISS_RATIO_MAX: f64 = 0.1;
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
    /// The canary's misses of the same bound: an incident is what both suffer from.
    pub incident_canary: Option<Bound>,
}

/// The canary against stable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compared {
    past: Past,
    /// Stable's sessions of this rollout.
    stable: Sketch,
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
                    past: Past::starting_at(reading.p50_ms),
                    stable: Sketch::default(),
                    tail_ms: reading.p95_ms,
                    fair_probability,
                    harm: Comparison::new(Direction::Harm, 1.0 + tolerance, parts),
                    promotion: Comparison::new(Direction::Promotion, 1.0 + margin, 1),
                }),
                within: None,
                full: reading
                    .p95_ms
                    .map(|p95| Bound::new(p95 * (1.0 + margin), FULL_MISS_RATIO_MAX)),
                incident_canary: incident.clone(),
                incident,
            },
            GuardRule::Within { limit_ms, miss_ratio_max } => Self {
                metric: guard.metric,
                compared: None,
                within: Some(Bound::new(limit_ms, miss_ratio_max)),
                full: Some(Bound::new(limit_ms, miss_ratio_max)),
                incident_canary: incident.clone(),
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

    /// The last share begins. What stable did to sessions of this rollout counts where it is more than its baseline:
    /// these are first turns, the baseline may hold later turns too.
    pub fn begin_full(&mut self) {
        if let (Some(compared), Some(full)) = (&self.compared, &mut self.full) {
            let seen_ms =
                compared.stable.quantile(0.95).map(|p95| p95 * compared.promotion.factor());
            full.limit_ms = seen_ms.map_or(full.limit_ms, |seen| full.limit_ms.max(seen));
        }
    }

    /// Folds the first request of a randomized session. `load_is_comparable`: absolute bounds apply.
    pub fn fold(&mut self, first: &RequestRecord, load_is_comparable: bool) {
        let ruler = self.compared.as_ref().and_then(|compared| compared.past.ruler());
        let centre_ms = ruler.map(|ruler| ruler.centre_ln.exp());
        let Some(outcome) = Outcome::of(first, self.metric, centre_ms) else { return };
        let probability = first.canary_probability;
        if let Some(compared) = &mut self.compared {
            compared.fold(first.arm == Arm::Canary, probability, outcome, ruler);
        }
        let bound = match (first.arm, probability >= 1.0) {
            (Arm::Stable, _) => self.incident.as_mut(),
            (Arm::Canary, false) => self.within.as_mut(),
            (Arm::Canary, true) => self.full.as_mut().filter(|_| load_is_comparable),
        };
        if let Some(bound) = bound {
            bound.test.observe(outcome.misses(bound.limit_ms));
        }
        if let Some(bound) = self.incident_canary.as_mut().filter(|_| first.arm == Arm::Canary) {
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
    fn fold(&mut self, on_canary: bool, probability: f64, outcome: Outcome, ruler: Option<Ruler>) {
        // A session that could not have gone to the other arm says nothing about the arms.
        if let Some(ruler) = ruler.filter(|_| probability > 0.0 && probability < 1.0) {
            let draw = Draw { on_canary, probability };
            self.harm.observe(draw, outcome, ruler, self.tail_ms);
            if probability >= self.fair_probability {
                self.promotion.observe(draw, outcome, ruler, self.tail_ms);
            }
        }
        if let Outcome::Measured(ms) = outcome
            && !on_canary
            && probability < 1.0
        {
            self.stable.note(ms);
        }
        self.past.note(outcome);
    }
}
