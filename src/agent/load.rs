//! Synthetic load: the generator as the tools see it, and as a person asks for it.

use std::sync::Arc;

use async_trait::async_trait;

use super::Error;
use crate::base::{Clock, SystemClock};
use crate::domain::{
    Backend, Metric, Objective, RequestRecord, RequestStats, Statistic, Target, TokenLengths,
    WorkloadProfile,
};
use crate::loadgen::{self, LoadOptions};
use crate::serving::{self, LoadDriver, LoadSpec};

/// Puts load on one server of a deployment.
pub(super) struct Driver {
    pub(super) served_model: String,
    pub(super) clock: Arc<dyn Clock>,
}

#[async_trait]
impl LoadDriver for Driver {
    async fn drive(
        &self,
        backend: &Backend,
        load: &LoadSpec,
    ) -> Result<Vec<RequestRecord>, serving::Error> {
        let profile = load.profile.clone();
        let options = LoadOptions {
            warmup_s: load.warmup_s,
            duration_s: load.duration_s,
            ..LoadOptions::new(&backend.url, &self.served_model, profile, load.seed)
        };
        let report = loadgen::run(&options, self.clock.clone()).await.map_err(|error| {
            serving::Error::Unreachable { endpoint: backend.url.clone(), detail: error.to_string() }
        })?;
        Ok(report.records)
    }
}

/// A load that a person asks for.
#[derive(Debug, Clone)]
pub struct LoadRequest {
    /// Base URL.
    pub url: String,
    /// Name of the served model.
    pub served_model: String,
    /// Requests per second.
    pub rate_rps: f64,
    /// Measured time [s].
    pub duration_s: f64,
    /// Left out at the start [s].
    pub warmup_s: f64,
    /// Mean prompt [tokens].
    pub input_tokens: f64,
    /// Share of the prompt that all requests have in common, 0–1.
    pub shared_prefix_ratio: f64,
    /// Mean answer [tokens].
    pub output_tokens: f64,
    /// Longest wait for an answer [s].
    pub timeout_s: f64,
    /// TTFT that counts as good [ms].
    pub slo_ttft_ms: f64,
    /// TPOT that counts as good [ms].
    pub slo_tpot_ms: f64,
    /// Seed of arrivals and lengths.
    pub seed: u64,
    /// Allow a server that is not on this machine.
    pub allow_remote: bool,
}

/// Puts an open-loop load on a server and adds up what its clients saw; with it the share within the SLO.
pub async fn put_load(request: &LoadRequest) -> Result<(RequestStats, Option<f64>), Error> {
    let lengths = |mean: f64| TokenLengths { mean, p50: mean, p95: mean };
    let profile = WorkloadProfile {
        request_rate_rps: request.rate_rps,
        arrival_cv: 1.0,
        input_tokens: lengths(request.input_tokens),
        output_tokens: lengths(request.output_tokens),
        shared_prefix_ratio: request.shared_prefix_ratio,
    };
    let bound = |metric, max_ms| Target { metric, statistic: Statistic::P95, max_ms };
    let objective = Objective {
        deployment: request.url.clone(),
        targets: vec![
            bound(Metric::Ttft, request.slo_ttft_ms),
            bound(Metric::Tpot, request.slo_tpot_ms),
        ],
        keep: Vec::new(),
        improve: None,
    };
    let options = LoadOptions {
        warmup_s: request.warmup_s,
        duration_s: request.duration_s,
        timeout_s: request.timeout_s,
        allow_remote: request.allow_remote,
        objective: Some(objective),
        ..LoadOptions::new(&request.url, &request.served_model, profile, request.seed)
    };
    let report = loadgen::run(&options, Arc::new(SystemClock)).await?;
    Ok((report.stats, report.within_objective))
}
