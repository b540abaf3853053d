//! The load a deployment sees, as a simulator or a load generator needs it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Token counts of many requests.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TokenLengths {
    /// Mean [tokens].
    pub mean: f64,
    /// Median [tokens].
    pub p50: f64,
    /// 95th percentile [tokens].
    pub p95: f64,
}

/// A load: how often, how long, how much is shared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WorkloadProfile {
    /// Requests per second.
    pub request_rate_rps: f64,
    /// Coefficient of variation of the gaps between arrivals; 1 is Poisson.
    pub arrival_cv: f64,
    /// Prompt lengths.
    pub input_tokens: TokenLengths,
    /// Answer lengths.
    pub output_tokens: TokenLengths,
    /// Share of prompt tokens that an ideal prefix cache would not compute again, 0–1.
    pub shared_prefix_ratio: f64,
}
