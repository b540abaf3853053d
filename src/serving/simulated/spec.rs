//! What a simulated world is: the `world:` section of a config file.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::fault::Fault;
use super::start_up;
use super::truth::truth;
use crate::base::{Millis, stable_hash};
use crate::domain::{Knob, KnobValue, Limits, ServingConfig};
use crate::serving::Error;
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
    /// Later rates, in order: (seconds since the world's start, requests/s).
    pub changes: Vec<(f64, f64)>,
}

impl Default for Traffic {
    /// Chat at the rate of Azure's 2023 conversation trace.
    fn default() -> Self {
        Self { workload: workload::Kind::Chat, rate_rps: 5.5, changes: Vec::new() }
    }
}

impl Default for WorldSpec {
    /// Llama-3.1-8B on one H100 with a second one spare, chat traffic, and a config that was right for a demo: few
    /// seats and no prefix cache. It carries the load, and lets one user in five wait for a seat.
    fn default() -> Self {
        let config = ServingConfig::default()
            .with(Knob::MaxNumSeqs, KnobValue::Int(12))
            .with(Knob::MaxNumBatchedTokens, KnobValue::Int(2048))
            .with(Knob::MaxModelLen, KnobValue::Int(32_768))
            .with(Knob::GpuMemoryUtilization, KnobValue::Float(0.9))
            .with(Knob::EnablePrefixCaching, KnobValue::Bool(false));
        Self {
            seed: None,
            // 2026-01-01T00:00:00Z
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
            warmup_s: 180.0,
            faults: Vec::new(),
        }
    }
}

impl WorldSpec {
    /// Equal worlds have equal fingerprints.
    pub(super) fn fingerprint(&self) -> String {
        stable_hash(&["world", &serde_json::to_string(self).unwrap_or_default()])
    }

    /// The seed in force.
    pub(super) fn seed(&self) -> u64 {
        self.seed.unwrap_or(1)
    }

    /// Whether the numbers make sense.
    ///
    /// Errors: [`Error::InvalidWorld`] naming the field and its range.
    pub(super) fn check(&self) -> Result<(), Error> {
        let positive = |field: &str, value: f64| {
            in_range(field, value, (f64::MIN_POSITIVE, 1e9), "more than 0")
        };
        if self.gpus == 0 {
            return Err(invalid("gpus", "0", "at least 1"));
        }
        positive("traffic.rate_rps", self.traffic.rate_rps)?;
        in_range("truth_sigma", self.truth_sigma, (0.0, 1.0), "0 to 1")?;
        in_range("start_up_s", self.start_up_s, (0.0, 86_400.0), "0 to 86400")?;
        in_range("warmup_s", self.warmup_s, (0.0, 86_400.0), "0 to 86400")?;
        let mut before_s = 0.0;
        for (at_s, rate_rps) in &self.traffic.changes {
            in_range("traffic.changes", *at_s, (before_s, 1e9), "moments in order")?;
            positive("traffic.changes", *rate_rps)?;
            before_s = *at_s;
        }
        self.faults.iter().try_for_each(Fault::check)
    }

    /// A replica of this world under `config`: the truth, not the search's idea of it.
    ///
    /// Errors: [`Error::InvalidWorld`] for a model or device the catalogue does not have; [`Error::StartFailed`] in the
    /// engine's words.
    pub(super) fn replica(&self, config: &ServingConfig) -> Result<ReplicaSpec, Error> {
        let catalogued = "a name of the catalogue";
        let model =
            sim::model(&self.model).ok_or_else(|| invalid("model", &self.model, catalogued))?;
        let gpu = sim::gpu(&self.gpu).ok_or_else(|| invalid("gpu", &self.gpu, catalogued))?;
        let config =
            EngineConfig::resolve(config, &model, &gpu).map_err(|r| start_up::refused(&r))?;
        let coefficients = truth(&Coefficients::default(), self.truth_sigma, self.seed());
        let spec = ReplicaSpec { model, gpu, config, coefficients };
        spec.kv_blocks().map_err(|refusal| start_up::refused(&refusal))?;
        Ok(spec)
    }
}

/// Refuses a number outside of `min..=max`, NaN included.
pub(super) fn in_range(
    field: &str,
    value: f64,
    (min, max): (f64, f64),
    expected: &str,
) -> Result<(), Error> {
    if (min..=max).contains(&value) {
        Ok(())
    } else {
        Err(invalid(field, &value.to_string(), expected))
    }
}

fn invalid(field: &str, value: &str, expected: &str) -> Error {
    Error::InvalidWorld {
        field: field.to_owned(),
        value: value.to_owned(),
        expected: expected.to_owned(),
    }
}
