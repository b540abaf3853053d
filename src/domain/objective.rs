//! A goal that a machine can check.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is measured.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Time to first token [ms].
    Ttft,
    /// Time per output token of one request [ms].
    Tpot,
    /// Gap between two adjacent tokens [ms].
    Itl,
    /// Request sent → last token [ms].
    E2e,
    /// Generated tokens per second.
    Throughput,
    /// Finished requests per second that met every target.
    Goodput,
    /// Failed share of requests, 0–1.
    ErrorRate,
}

impl std::fmt::Display for Metric {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Ttft => "TTFT",
            Self::Tpot => "TPOT",
            Self::Itl => "ITL",
            Self::E2e => "E2E latency",
            Self::Throughput => "throughput",
            Self::Goodput => "goodput",
            Self::ErrorRate => "error rate",
        })
    }
}

/// Which number of a distribution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Statistic {
    /// Arithmetic mean.
    Mean,
    /// Median.
    P50,
    /// 90th percentile.
    P90,
    /// 95th percentile.
    P95,
    /// 99th percentile.
    P99,
}

impl Statistic {
    /// The quantile, 0–1; `None` for the mean.
    pub fn quantile(self) -> Option<f64> {
        match self {
            Self::Mean => None,
            Self::P50 => Some(0.5),
            Self::P90 => Some(0.9),
            Self::P95 => Some(0.95),
            Self::P99 => Some(0.99),
        }
    }
}

/// A latency must stay at or under a bound.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// A latency metric.
    pub metric: Metric,
    /// Which statistic of it.
    pub statistic: Statistic,
    /// The bound [ms].
    pub max_ms: f64,
}

/// A goal in numbers: bounds to meet, things not to lose, and what to make best beyond that.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Objective {
    /// Name of the deployment.
    pub deployment: String,
    /// Bounds to meet; may be empty when `improve` is set.
    pub targets: Vec<Target>,
    /// Metrics that may not get worse ("without losing throughput").
    pub keep: Vec<Metric>,
    /// The metric to make better beyond the bounds, if one was named.
    pub improve: Option<Metric>,
}

impl Objective {
    /// Whether one complete request met every per-request bound.
    ///
    /// A one-token answer has no TPOT and passes that bound, as vLLM's `benchmarks/serve.py` counts.
    pub fn met_by(&self, request: &super::RequestRecord) -> bool {
        self.targets.iter().all(|target| {
            let value = match target.metric {
                Metric::Ttft => request.ttft_ms,
                Metric::Tpot => request.tpot_ms,
                Metric::Itl => request.itl_max_ms,
                Metric::E2e => request.e2e_ms,
                Metric::Throughput | Metric::Goodput | Metric::ErrorRate => None,
            };
            value.is_none_or(|ms| ms <= target.max_ms)
        })
    }
}

impl Objective {
    /// Whether it can be worked towards: a bound or a metric to improve, bounds above zero and on latencies.
    ///
    /// Errors: what is wrong, in words fit for a person or a model.
    pub fn check(&self) -> Result<(), String> {
        if self.targets.is_empty() && self.improve.is_none() {
            return Err("it has neither a bound in `targets` nor a metric in `improve`; the goal must name one, \
                        for example \"p95 TTFT under 300 ms\""
                .to_owned());
        }
        for Target { metric, max_ms, .. } in &self.targets {
            if !matches!(metric, Metric::Ttft | Metric::Tpot | Metric::Itl | Metric::E2e) {
                return Err(format!("{metric} is no latency and cannot be bounded in ms"));
            }
            if !(*max_ms > 0.0 && max_ms.is_finite()) {
                return Err(format!("{metric} cannot be {max_ms} ms or less"));
            }
        }
        Ok(())
    }
}
