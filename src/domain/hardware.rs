//! Shapes of models and devices: the numbers that cost models need.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A transformer's shape, as in its `config.json`. Data files live in `data/models/`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelSpec {
    /// For example `meta-llama/Llama-3.1-8B-Instruct`.
    pub name: String,
    /// Parameters, all of them.
    pub parameters: f64,
    /// Parameters used per token: fewer than `parameters` in a mixture of experts.
    pub active_parameters: f64,
    /// Transformer layers.
    pub layers: u32,
    /// Query heads.
    pub heads: u32,
    /// Key/value heads.
    pub kv_heads: u32,
    /// Width of one head.
    pub head_dim: u32,
    /// Hidden size.
    pub hidden: u32,
    /// Vocabulary size.
    pub vocab: u32,
    /// Longest context the model was trained for [tokens].
    pub context_max: u32,
}

impl ModelSpec {
    /// KV cache bytes per token at `bytes` per element: `2 · layers · kv_heads · head_dim · bytes`.
    pub fn kv_bytes_per_token(&self, bytes: f64) -> f64 {
        2.0 * f64::from(self.layers) * f64::from(self.kv_heads) * f64::from(self.head_dim) * bytes
    }
}

/// A device. Data files live in `data/gpus/`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GpuSpec {
    /// For example `H100`.
    pub name: String,
    /// Dense 16-bit peak [FLOP/s].
    pub peak_flops: f64,
    /// Dense 8-bit peak [FLOP/s]; equal to `peak_flops` where there is no 8-bit unit.
    pub peak_flops_fp8: f64,
    /// Memory bandwidth [B/s].
    pub memory_bytes_per_s: f64,
    /// Memory [B].
    pub memory_bytes: f64,
    /// Link to its neighbours, one direction [B/s].
    pub link_bytes_per_s: f64,
}
