//! What a simulated world is: the `world:` section of a config file.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::{Millis, Rng, SeededRng};
use crate::domain::{Knob, KnobValue, Limits, ServingConfig};
use crate::serving::{Error, Purpose};
use crate::sim::{self, Coefficients, EngineConfig, ReplicaSpec, workload};

/// A simulated world. One spec gives one history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WorldSpec {
    /// Seed of traffic, lengths and the truth's coefficients; left out: the agent's seed.
    pub seed: Option<u64>,
    /// When the world begins; its users have been there since.
    pub start: Millis,
    /// Name of the deployment.
    pub deployment: String,
    /// A model of the catalogue.
    pub model: String,
    /// A device of the catalogue.
    pub gpu: String,
    /// Devices: those of the stable version and the spare ones.
    pub gpus: u32,
    /// The config that the stable version runs at the start.
    pub config: ServingConfig,
    /// Standing limits.
    pub limits: Limits,
    /// Its users.
    pub traffic: Traffic,
    /// Spread of the truth around the simulator that the search uses: σ of a log-normal on each coefficient.
    pub truth_sigma: f64,
    /// How long a server takes to start [s].
    pub start_up_s: f64,
    /// Traffic before the agent first looks [s].
    pub warmup_s: f64,
    /// What goes wrong.
    pub faults: Vec<Fault>,
}

/// The users of a world.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Traffic {
    /// What they ask.
    pub workload: workload::Kind,
    /// How often [requests/s].
    pub rate_rps: f64,
    /// Later rates: (seconds since the start, requests/s).
    pub changes: Vec<(f64, f64)>,
}

impl Default for Traffic {
    fn default() -> Self {
        Self { workload: workload::Kind::Chat, rate_rps: 5.5, changes: Vec::new() }
    }
}

/// Which servers a fault is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AppliesTo {
    /// The version users are on.
    Stable,
    /// Servers started for a trial.
    Trial,
    /// Servers started for a canary.
    Canary,
    /// Every server.
    All,
}

/// Something that goes wrong on demand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "kind", deny_unknown_fields)]
pub enum Fault {
    /// The node is slower than the others by this factor, from `from_s` after the server is ready.
    SlowNode {
        /// Whose.
        applies_to: AppliesTo,
        /// Factor on every step, above 1 is slower.
        slowdown: f64,
        /// Begins this long after the server is ready [s].
        #[serde(default)]
        from_s: f64,
    },
    /// The server dies.
    Crash {
        /// Whose.
        applies_to: AppliesTo,
        /// This long after it is ready [s].
        after_s: f64,
    },
    /// The server does not start when a knob has a value.
    FailsToStart {
        /// The knob.
        knob: Knob,
        /// The value.
        value: KnobValue,
    },
    /// A share of requests fails.
    Errors {
        /// Whose.
        applies_to: AppliesTo,
        /// Share, 0–1.
        ratio: f64,
    },
}

impl AppliesTo {
    /// Whether a server started for `purpose` is meant.
    pub(super) fn covers(self, purpose: Purpose) -> bool {
        match self {
            Self::All => true,
            Self::Stable => purpose == Purpose::Stable,
            Self::Trial => purpose == Purpose::Trial,
            Self::Canary => purpose == Purpose::Canary,
        }
    }
}

impl Default for WorldSpec {
    /// Llama-3.1-8B on one H100 with a second one spare, chat traffic, and a config that was right for a demo:
    /// few seats and no prefix cache.
    fn default() -> Self {
        let config = ServingConfig::default()
            .with(Knob::MaxNumSeqs, KnobValue::Int(10))
            .with(Knob::MaxNumBatchedTokens, KnobValue::Int(2048))
            .with(Knob::MaxModelLen, KnobValue::Int(32_768))
            .with(Knob::GpuMemoryUtilization, KnobValue::Float(0.9))
            .with(Knob::EnablePrefixCaching, KnobValue::Bool(false));
        Self {
            seed: None,
            start: Millis(1_767_225_600_000),
            deployment: "chat".to_owned(),
            model: "meta-llama/Llama-3.1-8B-Instruct".to_owned(),
            gpu: "H100".to_owned(),
            gpus: 2,
            config,
            limits: Limits::default(),
            traffic: Traffic::default(),
            truth_sigma: 0.08,
            start_up_s: 60.0,
            warmup_s: 900.0,
            faults: Vec::new(),
        }
    }
}

impl WorldSpec {
    /// Equal worlds have equal fingerprints.
    pub(super) fn fingerprint(&self) -> String {
        crate::base::stable_hash(&["world", &serde_json::to_string(self).unwrap_or_default()])
    }

    pub(super) fn seed(&self) -> u64 {
        self.seed.unwrap_or(1)
    }

    /// A replica of this world under `config`: the truth, not the search's idea of it.
    ///
    /// Errors: [`Error::StartFailed`] in the engine's words.
    pub(super) fn replica(&self, config: &ServingConfig) -> Result<ReplicaSpec, Error> {
        let refused = |reason: String| Error::StartFailed {
            last_lines: vec![format!("ValueError: {reason}")],
            reason,
        };
        let unknown =
            |what: &str, name: &str| refused(format!("no {what} `{name}` in the catalogue"));
        let model = sim::model(&self.model).ok_or_else(|| unknown("model", &self.model))?;
        let gpu = sim::gpu(&self.gpu).ok_or_else(|| unknown("device", &self.gpu))?;
        let config = EngineConfig::resolve(config, &model, &gpu)
            .map_err(|refusal| refused(refusal.to_string()))?;
        let spec = ReplicaSpec { model, gpu, config, coefficients: self.truth() };
        spec.kv_blocks().map_err(|refusal| refused(refusal.to_string()))?;
        Ok(spec)
    }

    /// The fitted coefficients, each moved by its own log-normal factor.
    fn truth(&self) -> Coefficients {
        let mut rng = SeededRng::stream(self.seed(), "truth");
        let mut moved = |value: f64| {
            // Sum of twelve uniforms less six: a standard normal, near enough and the same everywhere.
            let z: f64 = (0..12).map(|_| rng.unit()).sum::<f64>() - 6.0;
            value * (self.truth_sigma * z).exp()
        };
        let fitted = Coefficients::default();
        Coefficients {
            mfu: moved(fitted.mfu).min(0.9),
            mbu_weights: moved(fitted.mbu_weights).min(0.98),
            mfu_attention: moved(fitted.mfu_attention).min(0.9),
            mbu_kv: moved(fitted.mbu_kv).min(0.98),
            allreduce_latency_s: moved(fitted.allreduce_latency_s),
            allreduce_efficiency: moved(fitted.allreduce_efficiency).min(0.95),
            per_layer_s: moved(fitted.per_layer_s),
            per_step_s: moved(fitted.per_step_s),
            per_request_s: moved(fitted.per_request_s),
            ttft_overhead_s: moved(fitted.ttft_overhead_s),
            eager_factor: fitted.eager_factor,
            slowdown: 1.0,
        }
    }
}
