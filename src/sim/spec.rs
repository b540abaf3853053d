//! What goes into a simulated replica and what comes out. Times are seconds of simulated time since its start.

use serde::{Deserialize, Serialize};

use crate::base::Coded;
use crate::domain::{GpuSpec, ModelSpec};

/// One simulated replica: a model on `tensor_parallel_size` devices under one config.
#[derive(Debug, Clone, PartialEq)]
pub struct ReplicaSpec {
    /// The model.
    pub model: ModelSpec,
    /// One device.
    pub gpu: GpuSpec,
    /// The config with every default filled in.
    pub config: EngineConfig,
    /// The step-time model's constants.
    pub coefficients: Coefficients,
}

/// A vLLM config with every default resolved. `EngineConfig::resolve` makes it from a `ServingConfig`.
#[derive(Debug, Clone, PartialEq)]
pub struct EngineConfig {
    /// Seats.
    pub max_num_seqs: u32,
    /// Token budget of a step.
    pub max_num_batched_tokens: u32,
    /// Share of device memory, 0–1.
    pub gpu_memory_utilization: f64,
    /// Tokens per KV block.
    pub block_size: u32,
    /// Bytes per KV element: 2 or 1.
    pub kv_bytes: f64,
    /// Bytes per weight: 2, 1 or 0.5.
    pub weight_bytes: f64,
    /// GEMMs run on the 8-bit units.
    pub fp8_compute: bool,
    /// Devices per replica.
    pub tensor_parallel_size: u32,
    /// Prefix cache on.
    pub enable_prefix_caching: bool,
    /// Chunked prefill on.
    pub enable_chunked_prefill: bool,
    /// Longest prompt + answer [tokens].
    pub max_model_len: u32,
    /// Longest prefill piece of a long prompt [tokens]; 0: no limit.
    pub long_prefill_token_threshold: u32,
    /// No CUDA graphs.
    pub enforce_eager: bool,
    /// Waiting requests beyond this are refused.
    pub max_num_queued_reqs: Option<u32>,
    /// KV blocks by hand.
    pub num_gpu_blocks_override: Option<u32>,
    /// Draft tokens per step; 0: off.
    pub speculative_tokens: u32,
    /// Scheduling overlaps execution.
    pub async_scheduling: bool,
}

/// Constants of the step-time model. `Default` holds the values fitted to real H100/H200 rows (`docs/simulator.md`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Coefficients {
    /// Share of peak FLOP/s that GEMMs reach.
    pub mfu: f64,
    /// Share of bandwidth that weight reads reach.
    pub mbu_weights: f64,
    /// Share of peak that prefill attention reaches.
    pub mfu_attention: f64,
    /// Share of bandwidth that KV reads reach.
    pub mbu_kv: f64,
    /// Latency of one all-reduce [s].
    pub allreduce_latency_s: f64,
    /// Share of link bandwidth all-reduce reaches.
    pub allreduce_efficiency: f64,
    /// Per layer and step [s].
    pub per_layer_s: f64,
    /// Per step [s].
    pub per_step_s: f64,
    /// Per request in the batch and step [s].
    pub per_request_s: f64,
    /// Fixed addition to TTFT: tokenizer, HTTP, first detokenisation [s].
    pub ttft_overhead_s: f64,
    /// Factor on per-layer and per-step times without CUDA graphs.
    pub eager_factor: f64,
    /// Factor on every step: 1; a throttled or slow device has more.
    pub slowdown: f64,
}

impl Default for Coefficients {
    fn default() -> Self {
        Self {
            mfu: 0.575,
            mbu_weights: 0.836,
            mfu_attention: 0.545,
            mbu_kv: 0.87,
            allreduce_latency_s: 26e-6,
            allreduce_efficiency: 0.58,
            per_layer_s: 8.1e-6,
            per_step_s: 693e-6,
            per_request_s: 50e-6,
            ttft_overhead_s: 0.023,
            eager_factor: 3.0,
            slowdown: 1.0,
        }
    }
}

/// One request on its way into a replica.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Unique within the replica.
    pub id: u64,
    /// Arrival [s].
    pub arrival_s: f64,
    /// Prompt [tokens].
    pub input_tokens: u32,
    /// Answer [tokens], at least 1.
    pub output_tokens: u32,
    /// Hashes of the leading full 16-token pieces that others may share; may be empty. They are chained: each stands
    /// for everything up to its piece. Those beyond the prompt name pieces of the answer, which the next turn's prompt
    /// will begin with.
    pub prefix_hashes: Vec<u64>,
    /// Session it belongs to.
    pub session: u64,
}

/// One request that is over.
#[derive(Debug, Clone, PartialEq)]
pub struct Completion {
    /// The request.
    pub id: u64,
    /// Arrived [s].
    pub arrival_s: f64,
    /// First scheduled [s].
    pub scheduled_s: f64,
    /// First token at the client [s].
    pub first_token_s: f64,
    /// Last token at the client [s].
    pub finished_s: f64,
    /// Prompt [tokens].
    pub input_tokens: u32,
    /// Answer [tokens].
    pub output_tokens: u32,
    /// Largest gap between two tokens [s].
    pub itl_max_s: f64,
    /// Times it was evicted.
    pub preemptions: u32,
    /// Prompt tokens found in the prefix cache.
    pub cached_tokens: u32,
}

/// One scheduler step, for metrics.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// When it ended [s].
    pub ended_s: f64,
    /// How long it took [s].
    pub duration_s: f64,
    /// Tokens computed.
    pub tokens: u32,
    /// Of these, prompt tokens.
    pub prefill_tokens: u32,
    /// Requests in the batch.
    pub batch: u32,
    /// Requests evicted to make room.
    pub preempted: u32,
}

/// Watches a replica run. Every method has an empty default.
pub trait Observer {
    /// Whether [`Self::step`] and [`Self::token`] are to be called for every step. Without them a replica takes runs
    /// of decode steps in one go: the same history, many times faster.
    fn every_step(&self) -> bool {
        true
    }
    /// A step ended.
    fn step(&mut self, _step: &Step) {}
    /// A request's next token reached its client; `gap_s` since the one before, `None` for the first.
    fn token(&mut self, _request: u64, _at_s: f64, _gap_s: Option<f64>) {}
    /// A request is over.
    fn completion(&mut self, _completion: &Completion) {}
    /// A request was refused at the door (queue full, or longer than `max_model_len`).
    fn refused(&mut self, _request: &Request, _at_s: f64) {}
}

/// Why a config cannot start on this device.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// Weights and activations alone do not fit.
    #[error("weights and activations need {needed_gib:.1} GiB, {allowed_gib:.1} GiB are allowed")]
    OutOfMemory {
        /// Needed [GiB].
        needed_gib: f64,
        /// Allowed by gpu_memory_utilization [GiB].
        allowed_gib: f64,
    },
    /// One request of `max_model_len` does not fit the KV cache.
    #[error("a request of {max_model_len} tokens does not fit the KV cache of {kv_tokens} tokens")]
    KvTooSmall {
        /// Longest request [tokens].
        max_model_len: u32,
        /// KV capacity [tokens].
        kv_tokens: u64,
    },
    /// A knob has a value the engine refuses.
    #[error("{0}")]
    Knob(String),
}

impl Coded for Refusal {
    fn code(&self) -> &'static str {
        match self {
            Self::OutOfMemory { .. } => "sim.out_of_memory",
            Self::KvTooSmall { .. } => "sim.kv_too_small",
            Self::Knob(_) => "sim.knob",
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::OutOfMemory { .. } => {
                "split the model over more devices, quantize its weights, or raise gpu_memory_utilization"
            }
            Self::KvTooSmall { .. } => {
                "lower max_model_len, use an fp8 KV cache, or raise gpu_memory_utilization"
            }
            Self::Knob(_) => "set the knob to a value in the range the message names",
        }
        .to_owned()
    }
}
