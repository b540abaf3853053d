//! How much load a config carries within the objective, and how many devices a load needs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::error::Error;
use super::setting::replica;
use super::twin::{Twin, targets_of};
use crate::domain::{Deployment, Objective, Observation, ServingConfig};

/// What a config carries, and what today's load needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CapacityPlan {
    /// Load now, all replicas [requests/s].
    pub load_rps: f64,
    /// Largest load of one replica within every target [requests/s].
    pub rps_per_replica_max: f64,
    /// Largest load of the present replicas [requests/s].
    pub rps_max: f64,
    /// Share of the largest load that is free now; negative when there is more load than that.
    pub headroom_ratio: f64,
    /// Replicas there are.
    pub replicas: u32,
    /// Replicas that today's load needs; `null` when one replica carries none within the targets.
    pub replicas_needed: Option<u32>,
    /// Devices per replica.
    pub gpus_per_replica: u32,
    /// Devices that today's load needs.
    pub gpus_needed: Option<u32>,
}

impl CapacityPlan {
    /// Replicas that `rps` requests per second need; `None` when no number is enough.
    pub fn replicas_for(&self, rps: f64) -> Option<u32> {
        let replicas = (rps / self.rps_per_replica_max).ceil().max(1.0);
        replicas.is_finite().then_some(replicas as u32)
    }

    /// Devices that `rps` requests per second need.
    pub fn gpus_for(&self, rps: f64) -> Option<u32> {
        self.replicas_for(rps).map(|replicas| replicas * self.gpus_per_replica)
    }
}

/// Requests behind each probe of a rate.
const PROBE_REQUESTS: usize = 1000;
/// Halvings of the interval: 2⁻⁷ of it is under 1 %.
const HALVINGS: u32 = 7;

/// Finds by bisection in the simulator how much of the observed kind of load `config` carries.
///
/// A rate is carried when every target and standing limit is met and the queue does not grow; without any bound, when the
/// queue does not grow. Errors as [`predict`](super::predict).
pub fn plan_capacity(
    deployment: &Deployment,
    observation: &Observation,
    objective: &Objective,
    config: &ServingConfig,
    seed: u64,
) -> Result<CapacityPlan, Error> {
    let targets = targets_of(objective, deployment);
    let twin = Twin::of(deployment, observation, &targets, seed)?;
    let mut spec = match replica(deployment, config) {
        Some(spec) => spec?,
        None => twin.incumbent.clone(),
    };
    spec.coefficients = twin.incumbent.coefficients.clone();
    let replicas = deployment.replicas.max(1);
    let load_rps = twin.profile.request_rate_rps;
    let carried = |rps: f64| -> Result<bool, Error> {
        let trace = twin.trace_at(rps, PROBE_REQUESTS);
        Ok(twin.run(&spec, &trace)?.meets(0.0))
    };
    let (mut low, mut high) = bracket(load_rps / f64::from(replicas), &carried)?;
    for _ in 0..HALVINGS {
        let middle = (low + high) / 2.0;
        if carried(middle)? {
            low = middle;
        } else {
            high = middle;
        }
    }
    let rps_max = low * f64::from(replicas);
    let gpus_per_replica = spec.config.tensor_parallel_size.max(1);
    let mut plan = CapacityPlan {
        load_rps,
        rps_per_replica_max: low,
        rps_max,
        headroom_ratio: if rps_max > 0.0 { 1.0 - load_rps / rps_max } else { -1.0 },
        replicas,
        replicas_needed: None,
        gpus_per_replica,
        gpus_needed: None,
    };
    plan.replicas_needed = plan.replicas_for(load_rps);
    plan.gpus_needed = plan.gpus_for(load_rps);
    Ok(plan)
}

/// A rate that is carried and one that is not, from `start` outwards by doubling; the lower end may be 0.
fn bracket(start: f64, carried: &dyn Fn(f64) -> Result<bool, Error>) -> Result<(f64, f64), Error> {
    let mut rate = start;
    if carried(rate)? {
        for _ in 0..8 {
            if !carried(2.0 * rate)? {
                break;
            }
            rate *= 2.0;
        }
        return Ok((rate, 2.0 * rate));
    }
    for _ in 0..8 {
        if carried(rate / 2.0)? {
            return Ok((rate / 2.0, rate));
        }
        rate /= 2.0;
    }
    Ok((0.0, rate))
}
