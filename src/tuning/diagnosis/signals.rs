//! The numbers the rules look at, each derived once from a window; `None` is unknown.

use crate::domain::{Deployment, Distribution, Latency, Observation};
use crate::sim::ReplicaSpec;
use crate::tuning::formulas;
use crate::tuning::profile::arrival_rps;
use crate::tuning::setting;

/// What a window says. Counts are per replica where the rules compare them with a replica's knobs.
#[derive(Debug, Clone, PartialEq)]
pub struct Signals {
    /// Requests in a replica's batch, mean.
    pub running_mean: Option<f64>,
    /// Requests in a replica's batch, p95 of the samples.
    pub running_p95: Option<f64>,
    /// Requests waiting, all replicas, p95 of the samples.
    pub waiting_p95: Option<f64>,
    /// Growth of the queue, all replicas [1/s].
    pub waiting_growth_per_s: Option<f64>,
    /// Newest count of waiting requests, all replicas.
    pub waiting_last: Option<f64>,
    /// KV-cache utilization, p95 of the samples, 0–1.
    pub kv_p95: Option<f64>,
    /// Seats of a replica.
    pub seats: Option<f64>,
    /// Token budget of a step.
    pub token_budget: Option<f64>,
    /// Tokens of a step, p90.
    pub iteration_tokens_p90: Option<f64>,
    /// Arrivals, all replicas [1/s].
    pub arrival_rps: Option<f64>,
    /// Finished, all replicas [1/s].
    pub finished_rps: Option<f64>,
    /// Preemptions ÷ finished requests.
    pub preemptions_per_request: Option<f64>,
    /// Share of a replica's time that goes into computing evicted requests again.
    pub recompute_share: Option<f64>,
    /// Seats that the KV cache carries on average.
    pub seats_by_kv: Option<f64>,
    /// Prompt tokens to compute per second ÷ what the device could at full speed.
    pub prefill_share: Option<f64>,
    /// Prefill's part of the load's device time, 0–1.
    pub prefill_part: Option<f64>,
    /// Load ÷ what the device carries with all its memory at work; above 1 no config helps.
    pub utilization: Option<f64>,
    /// Share of a full step of `max_num_batched_tokens` that is spent computing, 0–1; near 1 a larger budget gains nothing.
    pub full_step_efficiency: Option<f64>,
    /// Gap between tokens, mean [ms].
    pub itl_mean_ms: Option<f64>,
    /// The step-time model's decode step at the observed batch and context [ms].
    pub decode_step_ms: Option<f64>,
    /// The part of that step that memory takes, 0–1.
    pub decode_memory_part: Option<f64>,
    /// Batch below which decode is bound by bandwidth.
    pub ridge_batch: Option<f64>,
    /// Little's law's batch, all replicas.
    pub running_expected: Option<f64>,
}

impl Signals {
    /// Reads a window.
    pub fn of(observation: &Observation, deployment: &Deployment) -> Self {
        let config = setting::running_config(deployment, observation);
        let replica = setting::replica(deployment, &config).and_then(Result::ok);
        let replicas = f64::from(observation.replicas.max(1));
        let per_replica = |gauge: Option<Distribution>, pick: fn(Distribution) -> f64| {
            gauge.map(|gauge| pick(gauge) / replicas)
        };
        let load = Load::of(observation, replicas);
        let capacity = observation.kv_cache_tokens.filter(|tokens| *tokens > 0.0);
        let running_mean = per_replica(observation.running, |gauge| gauge.mean);
        let decode = replica.as_ref().zip(running_mean).zip(load.context);
        let decode = decode.map(|((replica, batch), context)| {
            let step = formulas::decode_step_s(replica, batch.max(1.0), context);
            (1e3 * step, formulas::decode_memory_s(replica, batch.max(1.0), context) / step)
        });
        let most = replica.as_ref().map(kv_tokens_at_most);
        let work = replica.as_ref().and_then(|replica| load.utilization(replica, most));
        let token_budget = setting::token_budget(deployment, &config);
        Self {
            running_mean,
            running_p95: per_replica(observation.running, |gauge| gauge.p95),
            waiting_p95: observation.waiting.map(|gauge| gauge.p95),
            waiting_growth_per_s: observation.waiting.map(|gauge| gauge.slope_per_s),
            waiting_last: observation.waiting.map(|gauge| gauge.last),
            kv_p95: observation.kv_cache_utilization.map(|gauge| gauge.p95),
            seats: setting::seats(deployment, &config),
            token_budget,
            iteration_tokens_p90: observation.iteration_tokens_p90,
            arrival_rps: arrival_rps(observation),
            finished_rps: observation.finished_rps,
            preemptions_per_request: observation.preemptions_per_request,
            recompute_share: replica.as_ref().and_then(|replica| {
                let per_replica = observation.preemptions_per_s? / replicas;
                Some(formulas::recompute_share(replica, per_replica, load.context?))
            }),
            seats_by_kv: capacity
                .zip(load.uncached_input)
                .zip(load.output)
                .map(|((capacity, input), output)| formulas::seats_by_kv(capacity, input, output)),
            prefill_share: replica.as_ref().and_then(|replica| load.prefill_share(replica)),
            prefill_part: work.map(|work| work.prefill / work.total()),
            utilization: work.map(|work| work.total()),
            full_step_efficiency: replica
                .as_ref()
                .zip(token_budget)
                .map(|(replica, tokens)| formulas::step_efficiency(replica, tokens)),
            itl_mean_ms: latency(&observation.itl, |itl| itl.mean_ms),
            decode_step_ms: decode.map(|(step_ms, _)| step_ms),
            decode_memory_part: decode.map(|(_, part)| part),
            ridge_batch: replica
                .map(|replica| formulas::ridge_batch(&replica.gpu, replica.config.weight_bytes)),
            running_expected: load.running_expected(observation),
        }
    }

    /// The queue grows by more than a fiftieth of the arrivals, and is more than a moment's.
    pub fn queue_grows(&self) -> Option<bool> {
        let growth = self.waiting_growth_per_s?;
        let floor = (0.02 * self.arrival_rps.unwrap_or(0.0)).max(0.02);
        Some(growth > floor && self.waiting_last? >= 2.0)
    }
}

/// KV capacity of a replica with nearly all of its memory at work, whatever the config allows now [tokens].
fn kv_tokens_at_most(replica: &ReplicaSpec) -> f64 {
    let config = &replica.config;
    let per_token = replica.model.kv_bytes_per_token(config.kv_bytes);
    let tp = config.tensor_parallel_size;
    let weights = formulas::weight_bytes_per_gpu(&replica.model, config.weight_bytes, tp);
    formulas::kv_capacity_tokens(&replica.gpu, 0.95, weights, RESERVE_BYTES, tp, per_token)
}

/// Activations, graphs and communication buffers of one device [B]: the middle of 2.5–4 GB.
const RESERVE_BYTES: f64 = 3.25e9;

fn latency(latency: &Option<Latency>, pick: fn(&Latency) -> f64) -> Option<f64> {
    latency.as_ref().filter(|latency| latency.count > 0).map(pick).filter(|ms| ms.is_finite())
}

/// One replica's part of the load.
struct Load {
    rps: Option<f64>,
    input: Option<f64>,
    uncached_input: Option<f64>,
    output: Option<f64>,
    /// Tokens a running request holds on average.
    context: Option<f64>,
}

impl Load {
    fn of(observation: &Observation, replicas: f64) -> Self {
        let input = observation.input_tokens.map(|tokens| tokens.mean);
        let output = observation.output_tokens.map(|tokens| tokens.mean);
        let hit = observation.prefix_hit_ratio.unwrap_or(0.0).clamp(0.0, 1.0);
        Self {
            rps: arrival_rps(observation).map(|rps| rps / replicas),
            input,
            uncached_input: input.map(|input| input * (1.0 - hit)),
            output,
            context: input.zip(output).map(|(input, output)| input + output / 2.0),
        }
    }

    /// Prompt tokens that arrive and are not cached ÷ the device's largest prefill rate.
    fn prefill_share(&self, replica: &ReplicaSpec) -> Option<f64> {
        let (rps, tokens) = (self.rps?, self.uncached_input?);
        Some(rps * formulas::prefill_s(replica, tokens, 0.0))
    }

    /// Device time per second at the largest batch that `capacity` carries: a lower bound of the load.
    fn utilization(
        &self,
        replica: &ReplicaSpec,
        capacity: Option<f64>,
    ) -> Option<formulas::Utilization> {
        let (rps, input, output) = (self.rps?, self.uncached_input?, self.output?);
        let by_kv = formulas::seats_by_kv(capacity?, self.input?, output);
        Some(formulas::utilization(replica, rps, input, output, by_kv.clamp(1.0, 1024.0)))
    }

    fn running_expected(&self, observation: &Observation) -> Option<f64> {
        let itl_s = latency(&observation.itl, |itl| itl.mean_ms)? / 1e3;
        let prefill_s = latency(&observation.prefill_time, |prefill| prefill.mean_ms)? / 1e3;
        let finished = observation.finished_rps?;
        Some(formulas::running_by_littles_law(finished, prefill_s, self.output?, itl_s))
    }
}
