//! The arithmetic of LLM serving, per replica: what the diagnosis, the rules and the reports calculate with.
//!
//! Every function says its units and where its formula comes from. Nothing here is fitted: constants arrive in
//! [`Coefficients`](crate::sim::Coefficients).

use crate::domain::{GpuSpec, ModelSpec};
use crate::sim::ReplicaSpec;

/// Bytes of KV cache that one token needs over all layers [B].
///
/// `2 · layers · kv_heads · head_dim · bytes`; Llama 3.1 8B in 16 bit: 128 KiB, 70B: 320 KiB.
/// Source: grouped-query attention (Ainslie et al. 2023), keys and values of every layer.
pub fn kv_bytes_per_token(model: &ModelSpec, bytes_per_element: f64) -> f64 {
    model.kv_bytes_per_token(bytes_per_element)
}

/// Weight bytes on one device [B]: `parameters · bytes / TP`.
pub fn weight_bytes_per_gpu(model: &ModelSpec, bytes_per_weight: f64, tensor_parallel: u32) -> f64 {
    model.parameters * bytes_per_weight / f64::from(tensor_parallel.max(1))
}

/// KV capacity of one replica [tokens]; 0 when the weights alone do not fit.
///
/// `(memory · utilization − weights − reserve) · TP / KV bytes per token`; `reserve_bytes` are activations, CUDA graphs
/// and communication buffers per device [B], 2.5–4 GB on data-centre GPUs.
/// Source: vLLM `determine_available_memory`: what the profiling run leaves is the KV cache.
pub fn kv_capacity_tokens(
    gpu: &GpuSpec,
    memory_utilization: f64,
    weights_per_gpu: f64,
    reserve_bytes: f64,
    tensor_parallel: u32,
    kv_bytes_per_token: f64,
) -> f64 {
    let free = gpu.memory_bytes * memory_utilization - weights_per_gpu - reserve_bytes;
    (free * f64::from(tensor_parallel.max(1)) / kv_bytes_per_token).max(0.0)
}

/// Requests the KV cache carries on average: `capacity / (uncached input + output / 2)`.
///
/// A running request holds its prompt and, averaged over its life, half of its answer.
pub fn seats_by_kv(capacity_tokens: f64, uncached_input: f64, output: f64) -> f64 {
    capacity_tokens / (uncached_input + output / 2.0).max(1.0)
}

/// Work of prefilling `tokens` behind `context` tokens that are already there [FLOP].
///
/// `2 · P · n + 4 · L · q_heads · head_dim · n · (ctx + n/2)`: GEMMs plus causal attention.
/// Source: Kaplan et al. 2020 (2 FLOP per parameter and token); attention QKᵀ and AV, 2 FLOP each.
pub fn prefill_flop(model: &ModelSpec, tokens: f64, context: f64) -> f64 {
    let width = f64::from(model.heads) * f64::from(model.head_dim);
    let attention = 4.0 * f64::from(model.layers) * width * tokens * (context + tokens / 2.0);
    2.0 * model.active_parameters * tokens + attention
}

/// Time of that prefill at full speed [s]: `FLOP / (TP · peak · MFU)`.
pub fn prefill_s(replica: &ReplicaSpec, tokens: f64, context: f64) -> f64 {
    let (config, coefficients) = (&replica.config, &replica.coefficients);
    let peak = peak_flops(replica) * f64::from(config.tensor_parallel_size.max(1));
    coefficients.slowdown * prefill_flop(&replica.model, tokens, context)
        / (peak * coefficients.mfu)
}

/// Peak FLOP/s of one device for the GEMMs of this config.
fn peak_flops(replica: &ReplicaSpec) -> f64 {
    match replica.config.fp8_compute {
        true => replica.gpu.peak_flops_fp8,
        false => replica.gpu.peak_flops,
    }
}

/// Share of the host's time per step that the device waits for when scheduling overlaps with execution.
///
/// Source: fitted by the simulator to vLLM 0.19, `docs/simulator.md`.
const EXPOSED_HOST: f64 = 0.4;

/// Time of one decode step of `batch` requests with `context` tokens each [s].
///
/// `max(2PB/(TP·peak·MFU), W/(TP·BW·MBU)) + B·ctx·kv/(TP·BW·MBU) + L·t_layer + t_step + B·t_request + all-reduce`.
/// Source: roofline of the GEMMs (Williams et al. 2009) plus KV reads, host and communication terms.
pub fn decode_step_s(replica: &ReplicaSpec, batch: f64, context: f64) -> f64 {
    let device = decode_memory_s(replica, batch, context) + all_reduce_s(replica, batch);
    replica.coefficients.slowdown * (device + host_s(replica, batch))
}

/// The host's part of a step of `requests` requests [s].
fn host_s(replica: &ReplicaSpec, requests: f64) -> f64 {
    let (c, config) = (&replica.coefficients, &replica.config);
    let launch = if config.enforce_eager { c.eager_factor } else { 1.0 };
    let exposed = if config.async_scheduling { EXPOSED_HOST } else { 1.0 };
    let layers = f64::from(replica.model.layers) * c.per_layer_s;
    launch * (layers + exposed * c.per_step_s) + exposed * requests * c.per_request_s
}

/// The part of a decode step that the device spends on weights and KV [s]: what faster memory would shorten.
pub fn decode_memory_s(replica: &ReplicaSpec, batch: f64, context: f64) -> f64 {
    let (c, config) = (&replica.coefficients, &replica.config);
    let (model, gpu) = (&replica.model, &replica.gpu);
    let tp = f64::from(config.tensor_parallel_size.max(1));
    let compute = 2.0 * model.active_parameters * batch / (tp * peak_flops(replica) * c.mfu);
    // A batch of one reads the active experts; a large batch touches nearly all of a mixture's weights.
    let touched = (model.active_parameters * batch).min(model.parameters);
    let weights = touched * config.weight_bytes / (tp * gpu.memory_bytes_per_s * c.mbu_weights);
    let kv = batch * context * model.kv_bytes_per_token(config.kv_bytes)
        / (tp * gpu.memory_bytes_per_s * c.mbu_kv);
    compute.max(weights) + kv
}

/// Share of a step of `tokens` prompt tokens that is spent computing, 0–1: `FLOP time / step time`.
///
/// Near 1 a larger step gains nothing; a small step waits for weights and for the host.
pub fn step_efficiency(replica: &ReplicaSpec, tokens: f64) -> f64 {
    let tp = f64::from(replica.config.tensor_parallel_size.max(1));
    let peak = tp * peak_flops(replica) * replica.coefficients.mfu;
    let compute = 2.0 * replica.model.active_parameters * tokens / peak;
    let device = decode_memory_s(replica, tokens, 0.0) + all_reduce_s(replica, tokens);
    compute / (device + host_s(replica, 1.0)).max(compute)
}

/// Time of the two all-reduces per layer of a step over `tokens` [s]; 0 on one device.
///
/// `2L · (latency + 2(TP−1)/TP · tokens·hidden·2 B / (efficiency · link))`. Source: ring all-reduce.
pub fn all_reduce_s(replica: &ReplicaSpec, tokens: f64) -> f64 {
    let tp = f64::from(replica.config.tensor_parallel_size);
    if tp < 2.0 {
        return 0.0;
    }
    let c = &replica.coefficients;
    let bytes = tokens * f64::from(replica.model.hidden) * 2.0;
    let link = c.allreduce_efficiency * replica.gpu.link_bytes_per_s;
    let transfer = 2.0 * (tp - 1.0) / tp * bytes / link;
    2.0 * f64::from(replica.model.layers) * (c.allreduce_latency_s + transfer)
}

/// Batch below which decode is bound by memory bandwidth: `peak · bytes per weight / (2 · BW)`.
///
/// 16 bit: 295 on H100, 153 on A100, 206 on H200.
pub fn ridge_batch(gpu: &GpuSpec, bytes_per_weight: f64) -> f64 {
    gpu.peak_flops * bytes_per_weight / (2.0 * gpu.memory_bytes_per_s)
}

/// Requests in the batch that Little's law expects: `X · (prefill + output · ITL)`.
///
/// Off by more than 20 % from the running gauge in a steady window, the page contradicts itself.
pub fn running_by_littles_law(finished_rps: f64, prefill_s: f64, output: f64, itl_s: f64) -> f64 {
    finished_rps * (prefill_s + output * itl_s)
}

/// Share of a replica's time that the offered load needs, prefill and decode.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Utilization {
    /// `λ · uncached input · time per prompt token`.
    pub prefill: f64,
    /// `λ · output · step(B) / B`.
    pub decode: f64,
}

impl Utilization {
    /// Both; above 1 no queue is ever empty, above 0.8 the p99 suffers.
    pub fn total(self) -> f64 {
        self.prefill + self.decode
    }
}

/// Utilization of one replica under `rps` requests of `uncached_input` and `output` tokens, decoding in batches of `batch`.
///
/// Decode in large batches is cheaper per token, so the largest batch that fits gives the lower bound.
pub fn utilization(
    replica: &ReplicaSpec,
    rps: f64,
    uncached_input: f64,
    output: f64,
    batch: f64,
) -> Utilization {
    let batch = batch.max(1.0);
    let context = uncached_input + output / 2.0;
    Utilization {
        prefill: rps * prefill_s(replica, uncached_input, 0.0),
        decode: rps * output * decode_step_s(replica, batch, context) / batch,
    }
}

/// Share of a replica's time that goes into computing evicted requests again: `preemptions · prefill time`.
///
/// A prompt token costs a fraction of an answer token, so many repeated tokens may cost little time. May exceed 1: then
/// requests are evicted before they are computed again.
pub fn recompute_share(replica: &ReplicaSpec, preemptions_per_s: f64, recomputed: f64) -> f64 {
    preemptions_per_s * prefill_s(replica, recomputed, 0.0)
}
