//! How long one scheduler step takes.
//!
//! Source of form and constants: fitted to measured H100/H200 vLLM rows, see `docs/simulator.md`.

use super::ReplicaSpec;

/// What one step computes.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Batch {
    /// Tokens, prompt and answer.
    pub(super) tokens: u32,
    /// Requests.
    pub(super) requests: u32,
    /// Σ over prefill pieces of `n · (context + n/2)`: token pairs of attention.
    pub(super) prefill_pairs: f64,
    /// Σ over decoding requests of their context [tokens].
    pub(super) decode_context: f64,
}

/// The step-time model of one replica, with everything constant already multiplied out.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct StepTime {
    gemm_s_per_token: f64,
    weights_s: f64,
    attention_s_per_pair: f64,
    kv_s_per_token: f64,
    allreduce_fixed_s: f64,
    allreduce_s_per_token: f64,
    fixed_s: f64,
    per_request_s: f64,
    pub(super) slowdown: f64,
}

impl StepTime {
    pub(super) fn new(spec: &ReplicaSpec) -> Self {
        let (model, gpu, config, k) = (&spec.model, &spec.gpu, &spec.config, &spec.coefficients);
        let tp = f64::from(config.tensor_parallel_size);
        let peak = if config.fp8_compute { gpu.peak_flops_fp8 } else { gpu.peak_flops };
        let layers = f64::from(model.layers);
        let attention_width = f64::from(model.heads) * f64::from(model.head_dim);
        let active_bytes = model.active_parameters * config.weight_bytes;
        // A ring all-reduce moves 2(TP−1)/TP of the activations, twice a layer.
        let ring = if tp > 1.0 { 2.0 * (tp - 1.0) / tp } else { 0.0 };
        let activation_bytes = f64::from(model.hidden) * 2.0;
        let eager = if config.enforce_eager { k.eager_factor } else { 1.0 };
        let host = if config.async_scheduling { 1.0 } else { 1.35 };
        Self {
            gemm_s_per_token: 2.0 * model.active_parameters / (tp * peak * k.mfu),
            weights_s: active_bytes / (tp * gpu.memory_bytes_per_s * k.mbu_weights),
            attention_s_per_pair: 4.0 * layers * attention_width
                / (tp * gpu.peak_flops * k.mfu_attention),
            kv_s_per_token: model.kv_bytes_per_token(config.kv_bytes)
                / (tp * gpu.memory_bytes_per_s * k.mbu_kv),
            allreduce_fixed_s: if tp > 1.0 { 2.0 * layers * k.allreduce_latency_s } else { 0.0 },
            allreduce_s_per_token: 2.0 * layers * ring * activation_bytes
                / (k.allreduce_efficiency * gpu.link_bytes_per_s),
            fixed_s: (layers * k.per_layer_s + k.per_step_s * host) * eager,
            per_request_s: k.per_request_s,
            slowdown: k.slowdown,
        }
    }

    /// Duration of a step [s]: one GEMM over all its tokens (compute or weights, whichever is slower), then attention,
    /// KV reads, all-reduces and the host.
    pub(super) fn seconds(&self, batch: &Batch) -> f64 {
        let tokens = f64::from(batch.tokens);
        let gemm = (tokens * self.gemm_s_per_token).max(self.weights_s);
        let attention = batch.prefill_pairs * self.attention_s_per_pair;
        let kv = batch.decode_context * self.kv_s_per_token;
        let allreduce = self.allreduce_fixed_s + tokens * self.allreduce_s_per_token;
        let host = self.fixed_s + f64::from(batch.requests) * self.per_request_s;
        (gemm + attention + kv + allreduce + host) * self.slowdown
    }
}
