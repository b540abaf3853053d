//! A deployment's twin in the simulator: its load repeated, its constants fitted to what was observed.

use super::error::Error;
use super::forecast::{Forecast, Run};
use super::profile::profile_of;
use super::setting::{replica, running_config};
use crate::domain::{Deployment, Objective, Observation, ServingConfig, Target, WorkloadProfile};
use crate::sim::workload::{Workload, generate};
use crate::sim::{Refusal, ReplicaSpec, Request, SimOptions, simulate};

/// Share of a run's requests that warm the replicas and are not counted.
const WARM_SHARE: f64 = 0.1;
/// A run ends this long after its last arrival [s]: who has not finished by then was overloaded.
const DRAIN_S: f64 = 60.0;

/// The simulator in the shape of one deployment under its present load.
#[derive(Debug, Clone)]
pub struct Twin {
    /// The running config, one replica of it.
    pub incumbent: ReplicaSpec,
    /// The running config as knobs.
    pub running: ServingConfig,
    /// The load of all replicas.
    pub profile: WorkloadProfile,
    /// Observed ÷ simulated TPOT before the fit, and what the fit left; `None` when nothing could be compared.
    pub fit: Option<(f64, f64)>,
    deployment: Deployment,
    targets: Vec<Target>,
    seed: u64,
}

impl Twin {
    /// The twin of `deployment` as `observation` shows it, fitted to the observed TPOT and TTFT.
    ///
    /// Errors: [`Error::NoTwin`] without model or device, [`Error::NoLoad`] when the window shows no load to repeat,
    /// [`Error::Illegal`] when the running config does not resolve.
    pub fn of(
        deployment: &Deployment,
        observation: &Observation,
        targets: &[Target],
        seed: u64,
    ) -> Result<Self, Error> {
        let running = running_config(deployment, observation);
        let incumbent = replica(deployment, &running).ok_or_else(|| Error::NoTwin {
            deployment: deployment.name.clone(),
            missing: match (&deployment.model, &deployment.gpu) {
                (None, None) => "model and device",
                (None, Some(_)) => "model",
                (Some(_), _) => "GPU",
            },
        })??;
        let profile = profile_of(observation).ok_or_else(|| {
            Error::NoLoad(format!("deployment `{}`, {} s", deployment.name, observation.window_s))
        })?;
        let mut twin = Self {
            incumbent,
            running,
            profile,
            fit: None,
            deployment: deployment.clone(),
            targets: targets.to_vec(),
            seed,
        };
        twin.fit_to(observation);
        Ok(twin)
    }

    /// The first `count` requests of one replica's share of the load, the same for every config: common random numbers.
    ///
    /// Replicas are simulated one by one because sessions stick to them: each sees its own share of the arrivals.
    pub fn trace(&self, count: usize) -> Vec<Request> {
        self.trace_at(self.profile.request_rate_rps / f64::from(self.replicas()), count)
    }

    /// Replicas of the deployment.
    pub fn replicas(&self) -> u32 {
        self.deployment.replicas.max(1)
    }

    /// The same at `rps` requests per second.
    pub fn trace_at(&self, rps: f64, count: usize) -> Vec<Request> {
        generate(&Workload::from_profile(&self.profile), rps, self.seed, count)
    }

    /// What one replica under `config` would do with `trace`.
    ///
    /// Errors: the engine's refusal.
    pub fn forecast(&self, config: &ServingConfig, trace: &[Request]) -> Result<Forecast, Refusal> {
        let mut spec = match replica(&self.deployment, config) {
            Some(spec) => spec?,
            None => return Err(Refusal::Knob("model or device are unknown".to_owned())),
        };
        spec.coefficients = self.incumbent.coefficients.clone();
        self.run(&spec, trace)
    }

    /// What one replica of `spec` would do with `trace`.
    pub fn run(&self, spec: &ReplicaSpec, trace: &[Request]) -> Result<Forecast, Refusal> {
        let warm = (WARM_SHARE * trace.len() as f64) as usize;
        let warmup_s = trace.get(warm).map_or(0.0, |request| request.arrival_s);
        let options = SimOptions { warmup_s, drain_s: DRAIN_S };
        let report = simulate(spec, 1, trace, &options)?;
        let run = Run {
            span_s: report.duration_s,
            finished_rps: report.finished_rps(),
            throughput_tok_s: report.throughput_tok_s(),
            refused: report.refused,
            growing: report.overloaded(),
        };
        Ok(Forecast::of(&report.completions, run, &self.targets))
    }

    fn seats_are_full(&self, observation: &Observation) -> bool {
        let seats = f64::from(self.incumbent.config.max_num_seqs * self.replicas());
        let full = observation.running.is_some_and(|gauge| gauge.mean >= 0.9 * seats);
        full && observation.kv_cache_utilization.is_some_and(|gauge| gauge.p95 < 0.9)
    }

    /// Scales step times until the simulated TPOT is the observed one, then shifts TTFT by what is left.
    ///
    /// Only where both sides mean the same. TPOT: while the batch is steady, which it is without a queue or with every seat
    /// taken, but not while memory overflows. TTFT: while nobody queues; a queue's length depends on how long it has been
    /// growing, which no window tells.
    fn fit_to(&mut self, observation: &Observation) {
        let trace = self.trace(FIT_REQUESTS);
        let quiet = observation.waiting.is_some_and(|gauge| gauge.p95 < 1.0);
        let steady = quiet || self.seats_are_full(observation);
        let Some(observed) = observed_tpot_ms(observation).filter(|_| steady) else { return };
        let tpot = |twin: &Self| {
            let spec = &twin.incumbent;
            let forecast = twin.run(spec, &trace).ok()?;
            Some((forecast.stats.tpot_p50_ms?, forecast.stats.ttft_p50_ms?))
        };
        let Some((first, _)) = tpot(self).filter(|(ms, _)| *ms > 0.0) else { return };
        let (mut ratio, start) = (observed / first, observed / first);
        for _ in 0..3 {
            if (ratio - 1.0).abs() < FIT_WITHIN || !ratio.is_finite() {
                break;
            }
            let slower = (self.incumbent.coefficients.slowdown * ratio.powf(0.8)).clamp(0.3, 4.0);
            self.incumbent.coefficients.slowdown = slower;
            let Some((ms, _)) = tpot(self) else { break };
            ratio = observed / ms;
        }
        self.fit = Some((start, ratio));
        let ttft = tpot(self).map(|(_, ttft)| ttft).zip(observed_ttft_ms(observation));
        if let Some((simulated, observed)) = ttft.filter(|_| quiet) {
            let overhead = &mut self.incumbent.coefficients.ttft_overhead_s;
            *overhead = (*overhead + (observed - simulated) / 1e3).clamp(0.0, 0.5);
        }
    }
}

/// Requests of one run of the fit.
const FIT_REQUESTS: usize = 300;
/// Closer than this the twin is left as it is: a window of a real server scatters as much.
const FIT_WITHIN: f64 = 0.08;

/// Median TPOT of the clients, else the server's mean [ms]: its buckets are too wide for a median.
fn observed_tpot_ms(observation: &Observation) -> Option<f64> {
    let client = observation.client.as_ref().and_then(|client| client.tpot_p50_ms);
    let server = observation.tpot.as_ref().filter(|tpot| tpot.count > 0).map(|tpot| tpot.mean_ms);
    client.or(server).filter(|ms| ms.is_finite() && *ms > 0.0)
}

/// Median TTFT of the clients [ms].
fn observed_ttft_ms(observation: &Observation) -> Option<f64> {
    let client = observation.client.as_ref().and_then(|client| client.ttft_p50_ms);
    client.filter(|ms| ms.is_finite() && *ms > 0.0)
}

/// Limits as targets, for predictions without an objective.
pub fn targets_of(objective: &Objective, deployment: &Deployment) -> Vec<Target> {
    use crate::domain::{Metric, Statistic};
    let mut targets = objective.targets.clone();
    for metric in [Metric::Ttft, Metric::Tpot, Metric::E2e] {
        let covered = targets.iter().any(|target| target.metric == metric);
        if let Some(max_ms) =
            super::statistic::limit(metric, &deployment.limits).filter(|_| !covered)
        {
            targets.push(Target { metric, statistic: Statistic::P95, max_ms });
        }
    }
    targets
}

/// Predicts what `config` would do under the observed load.
///
/// Goodput counts requests within the deployment's standing limits. Errors as [`Twin::of`], and [`Error::Illegal`] when
/// `config` cannot start.
pub fn predict(
    deployment: &Deployment,
    observation: &Observation,
    config: &ServingConfig,
    seed: u64,
) -> Result<crate::domain::Prediction, Error> {
    let limits = Objective {
        deployment: deployment.name.clone(),
        targets: Vec::new(),
        keep: Vec::new(),
        improve: None,
    };
    let targets = targets_of(&limits, deployment);
    let twin = Twin::of(deployment, observation, &targets, seed)?;
    let forecast = twin.forecast(config, &twin.trace(PREDICT_REQUESTS))?;
    Ok(forecast.prediction(twin.replicas()))
}

/// Requests behind one prediction: enough for a stable p95.
const PREDICT_REQUESTS: usize = 2000;
