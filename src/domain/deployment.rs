//! What is being served, by which engine, on what.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{GpuSpec, ModelSpec, ServingConfig};

/// The dialect a server speaks: its metric names and its flags.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum EngineKind {
    /// vLLM, V1 engine.
    Vllm,
    /// SGLang.
    Sglang,
    /// Hugging Face Text Generation Inference, v3.
    Tgi,
}

impl std::fmt::Display for EngineKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Vllm => "vllm",
            Self::Sglang => "sglang",
            Self::Tgi => "tgi",
        })
    }
}

/// One served model: what the tools call a target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Deployment {
    /// Unique name.
    pub name: String,
    /// The engine's dialect.
    pub engine: EngineKind,
    /// Name under which the model is served.
    pub served_model: String,
    /// The model's shape; `None` when nobody declared it: no simulation then.
    pub model: Option<ModelSpec>,
    /// The device of one replica; `None` when unknown.
    pub gpu: Option<GpuSpec>,
    /// GPUs available to this deployment.
    pub gpus: u32,
    /// Replicas of the stable version.
    pub replicas: u32,
    /// The config the stable version runs.
    pub config: ServingConfig,
    /// Latency limits that hold whatever the goal says.
    pub limits: Limits,
}

/// Standing limits of a deployment: its SLO, declared by its owner.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Largest allowed p95 of TTFT [ms].
    pub ttft_p95_ms: Option<f64>,
    /// Largest allowed p95 of TPOT [ms].
    pub tpot_p95_ms: Option<f64>,
    /// Largest allowed p95 of E2E latency [ms].
    pub e2e_p95_ms: Option<f64>,
}
