//! How long one scheduler step takes.
//!
//! Form and constants: `docs/simulator.md`. GEMMs take the longer of their compute and their weight reads; attention,
//! KV reads, all-reduces and the host come on top. Taking one maximum over the whole step instead would hide prefill
//! behind the weight reads of decode.

use super::ReplicaSpec;
use super::shape::Shape;
use super::speculation::DRAFT_LAYERS;
use super::ticks::{Ps, ps};

/// Share of the host's time per step that the device waits for when scheduling overlaps with execution.
///
/// Fitted to one run of vLLM 0.19 (Llama-3.1-8B); the coefficients were fitted to versions that did not overlap.
const EXPOSED_HOST: f64 = 0.4;
/// Links slower than this are PCIe [B/s].
const NVLINK_BYTES_PER_S: f64 = 100e9;
/// How many times as long an all-reduce takes to get going over PCIe. Fitted to one run (Qwen3-32B, two devices).
const PCIE_LATENCY: f64 = 5.0;

/// What one step computes.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Batch {
    /// Tokens, prompt and answer.
    pub(super) tokens: u32,
    /// Positions at which a token is sampled.
    pub(super) sampled: u32,
    /// Requests.
    pub(super) requests: u32,
    /// Σ over prefill pieces of `n · (context + n/2)`: token pairs of attention.
    pub(super) prefill_pairs: f64,
    /// Σ over decoding requests of their context [tokens].
    pub(super) context: u64,
    /// Draft tokens proposed one after the other.
    pub(super) drafts: u32,
}

/// Durations of consecutive decode steps: `first`, `first + growth`, `first + 2·growth` …
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Run {
    pub(super) first: Ps,
    pub(super) growth: Ps,
}

impl Run {
    /// Total duration of `steps` steps.
    pub(super) fn duration(&self, steps: u64) -> Ps {
        let pairs = steps * steps.saturating_sub(1) / 2;
        self.first.saturating_mul(steps).saturating_add(self.growth.saturating_mul(pairs))
    }

    /// The longest of `steps` steps: the last.
    pub(super) fn longest(&self, steps: u64) -> Ps {
        self.first + self.growth * steps.saturating_sub(1)
    }

    /// The most steps, up to `most`, that all end within `within` and all begin before `before` (both from now).
    pub(super) fn steps_within(&self, most: u64, within: Ps, before: Ps) -> u64 {
        let fits = |steps: u64| self.duration(steps) <= within && self.duration(steps - 1) < before;
        let (mut low, mut high) = (0, most);
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            if fits(middle) {
                low = middle;
            } else {
                high = middle - 1;
            }
        }
        low
    }
}

/// The step-time model of one replica, with everything constant already multiplied out.
#[derive(Debug, Clone)]
pub(super) struct StepTime {
    shape: Shape,
    weight_bytes: f64,
    tensor_parallel: f64,
    s_per_flop: f64,
    s_per_weight_byte: f64,
    s_per_pair: f64,
    s_per_context: f64,
    allreduce_fixed_s: f64,
    allreduce_s_per_token: f64,
    fixed_s: f64,
    per_request_s: f64,
    draft_s: f64,
    slowdown: f64,
    context_ps: Ps,
}

impl StepTime {
    pub(super) fn new(spec: &ReplicaSpec) -> Self {
        let (model, gpu, config, k) = (&spec.model, &spec.gpu, &spec.config, &spec.coefficients);
        let tp = f64::from(config.tensor_parallel_size);
        let peak = if config.fp8_compute { gpu.peak_flops_fp8 } else { gpu.peak_flops };
        let shape = Shape::of(model);
        let layers = f64::from(model.layers);
        let attention_width = f64::from(model.heads) * f64::from(model.head_dim);
        let linked = tp > 1.0;
        // A ring all-reduce moves 2(TP−1)/TP of the activations; there are two of them in a layer.
        let ring = 2.0 * (tp - 1.0) / tp;
        let activation_bytes = f64::from(model.hidden) * 2.0;
        let eager = if config.enforce_eager { k.eager_factor } else { 1.0 };
        let exposed = if config.async_scheduling { EXPOSED_HOST } else { 1.0 };
        let latency_s = k.allreduce_latency_s
            * if gpu.link_bytes_per_s < NVLINK_BYTES_PER_S { PCIE_LATENCY } else { 1.0 };
        let s_per_weight_byte = 1.0 / (gpu.memory_bytes_per_s * k.mbu_weights);
        let draft_bytes = (shape.body / layers * DRAFT_LAYERS * 2.0 + shape.head * 2.0) / tp;
        let mut cost = Self {
            shape,
            weight_bytes: config.weight_bytes,
            tensor_parallel: tp,
            s_per_flop: 1.0 / (tp * peak * k.mfu),
            s_per_weight_byte,
            s_per_pair: 4.0 * layers * attention_width / (tp * gpu.peak_flops * k.mfu_attention),
            s_per_context: spec.kv_bytes_per_token_and_gpu() / (gpu.memory_bytes_per_s * k.mbu_kv),
            allreduce_fixed_s: if linked { 2.0 * layers * latency_s } else { 0.0 },
            allreduce_s_per_token: 2.0 * layers * ring * activation_bytes
                / (k.allreduce_efficiency * gpu.link_bytes_per_s),
            fixed_s: (layers * k.per_layer_s + k.per_step_s * exposed) * eager,
            per_request_s: k.per_request_s * exposed,
            draft_s: draft_bytes * s_per_weight_byte + k.per_layer_s * DRAFT_LAYERS,
            slowdown: 1.0,
            context_ps: 0,
        };
        cost.set_slowdown(k.slowdown);
        cost
    }

    /// Every later step takes `factor` times as long as the model says.
    pub(super) fn set_slowdown(&mut self, factor: f64) {
        self.slowdown = factor;
        self.context_ps = ps(self.s_per_context * factor);
    }

    /// Duration of a step.
    pub(super) fn step(&self, batch: &Batch) -> Ps {
        self.without_context(batch) + self.context(batch.context)
    }

    /// How the durations of decode steps go on from `batch` while each adds one token of context per request.
    pub(super) fn run(&self, batch: &Batch) -> Run {
        Run { first: self.step(batch), growth: self.context(u64::from(batch.requests)) }
    }

    /// Time to read the KV of `tokens` tokens of context: the only part of a decode step that its length changes.
    fn context(&self, tokens: u64) -> Ps {
        tokens * self.context_ps
    }

    fn without_context(&self, batch: &Batch) -> Ps {
        let tokens = f64::from(batch.tokens);
        let flop = 2.0 * self.shape.active_body * tokens
            + 2.0 * self.shape.head * f64::from(batch.sampled);
        let bytes = self.shape.read_bytes(self.weight_bytes, self.tensor_parallel, tokens);
        let gemm = (flop * self.s_per_flop).max(bytes * self.s_per_weight_byte);
        let attention = batch.prefill_pairs * self.s_per_pair;
        let allreduce = self.allreduce_fixed_s + tokens * self.allreduce_s_per_token;
        let drafts = f64::from(batch.drafts) * self.draft_s;
        let host = self.fixed_s + f64::from(batch.requests) * self.per_request_s;
        ps((gemm + attention + allreduce + host + drafts) * self.slowdown).max(1)
    }
}
