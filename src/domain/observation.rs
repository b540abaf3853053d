//! One look at a deployment: everything its pages said over a window, and nothing they did not.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{EngineKind, RequestStats, ServingConfig, TokenLengths};
use crate::base::Millis;

/// A gauge over the window.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Distribution {
    /// Newest value.
    pub last: f64,
    /// Mean of the samples.
    pub mean: f64,
    /// 95th percentile of the samples.
    pub p95: f64,
    /// Largest sample.
    pub max: f64,
    /// Newest minus oldest, per second: is it growing?
    pub slope_per_s: f64,
    /// How many scrapes it comes from.
    pub samples: u32,
}

/// One bucket edge of a histogram between two scrapes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HistogramEdge {
    /// Upper edge [ms].
    pub le_ms: f64,
    /// Share of observations at or under the edge, 0–1: exact, not interpolated.
    pub fraction: f64,
}

/// A latency histogram between two scrapes [ms]. Quantiles are interpolated inside a bucket; edges are exact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Latency {
    /// Observations in the window.
    pub count: u64,
    /// Sum ÷ count [ms].
    pub mean_ms: f64,
    /// Median [ms].
    pub p50_ms: f64,
    /// 95th percentile [ms].
    pub p95_ms: f64,
    /// 99th percentile [ms].
    pub p99_ms: f64,
    /// Every finite edge that was seen.
    pub edges: Vec<HistogramEdge>,
}

/// One GPU at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GpuReading {
    /// Position in the host.
    pub index: u32,
    /// Product name.
    pub name: String,
    /// Share of time a kernel ran, 0–1: saturates, no bottleneck signal by itself.
    pub gpu_utilization: Option<f64>,
    /// Share of time memory was read or written, 0–1.
    pub memory_utilization: Option<f64>,
    /// Memory used [B].
    pub memory_used_bytes: Option<f64>,
    /// Memory there is [B].
    pub memory_total_bytes: Option<f64>,
    /// Power drawn [W].
    pub power_w: Option<f64>,
    /// Power limit [W].
    pub power_limit_w: Option<f64>,
    /// SM clock [MHz].
    pub sm_clock_mhz: Option<f64>,
    /// Highest SM clock [MHz].
    pub sm_clock_max_mhz: Option<f64>,
    /// Temperature [°C].
    pub temperature_c: Option<f64>,
    /// Why the clock is held back; empty when it is not.
    pub throttle_reasons: Vec<String>,
    /// Uncorrected ECC errors since boot.
    pub ecc_uncorrected: Option<u64>,
}

/// Everything seen of one deployment over one window, summed over replicas. `None` is *unknown*.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Observation {
    /// Name of the deployment.
    pub deployment: String,
    /// Engine dialect of the page.
    pub engine: EngineKind,
    /// End of the window.
    pub at: Millis,
    /// Length of the window [s].
    pub window_s: f64,
    /// Replicas whose pages are in here.
    pub replicas: u32,
    /// Config read back from the server where it says, from the launcher where not.
    pub config: ServingConfig,
    /// Requests in a batch.
    pub running: Option<Distribution>,
    /// Requests waiting.
    pub waiting: Option<Distribution>,
    /// Used ÷ all KV blocks, 0–1.
    pub kv_cache_utilization: Option<Distribution>,
    /// KV capacity of one replica [tokens].
    pub kv_cache_tokens: Option<f64>,
    /// Preemptions per second.
    pub preemptions_per_s: Option<f64>,
    /// Preemptions ÷ finished requests.
    pub preemptions_per_request: Option<f64>,
    /// Prefix tokens found ÷ asked, 0–1.
    pub prefix_hit_ratio: Option<f64>,
    /// Server's own time to first token.
    pub ttft: Option<Latency>,
    /// Gap between tokens.
    pub itl: Option<Latency>,
    /// Time per output token per request.
    pub tpot: Option<Latency>,
    /// E2E latency.
    pub e2e: Option<Latency>,
    /// Time in the queue; seen only once a request finishes.
    pub queue_time: Option<Latency>,
    /// Prefill time.
    pub prefill_time: Option<Latency>,
    /// Requests that finished per second, by any reason.
    pub finished_rps: Option<f64>,
    /// Aborted or failed ÷ finished, 0–1.
    pub error_rate: Option<f64>,
    /// Prompt tokens computed per second.
    pub prompt_tok_s: Option<f64>,
    /// Tokens generated per second.
    pub generation_tok_s: Option<f64>,
    /// Tokens of one scheduler step, p90.
    pub iteration_tokens_p90: Option<f64>,
    /// Prompt lengths of finished requests.
    pub input_tokens: Option<TokenLengths>,
    /// Answer lengths of finished requests.
    pub output_tokens: Option<TokenLengths>,
    /// What the clients saw, through the data plane; `None` without one.
    pub client: Option<RequestStats>,
    /// GPUs, where they can be read.
    pub gpus: Vec<GpuReading>,
}
