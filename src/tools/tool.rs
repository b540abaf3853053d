//! What a tool is: types in, types out; the schemas are derived, never typed twice.

use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{ByName, Effect, Error, Targets};
use crate::base::{Clock, Documents, EffectKey};
use crate::serving::Target;

/// One typed tool. `Args` and `Output` give its schemas.
#[async_trait]
pub trait Tool: Send + Sync + 'static {
    /// Flat snake_case, verb and noun.
    const NAME: &'static str;
    /// The most it can do. A manifest may not declare less.
    const EFFECT: Effect;
    /// Arguments; validated against their schema before [`Tool::call`].
    type Args: DeserializeOwned + JsonSchema + Send;
    /// Result.
    type Output: Serialize + JsonSchema;

    /// Does it. `cx.key` is stable over restarts: whatever is started is started under it.
    async fn call(&self, args: Self::Args, cx: &ToolContext) -> Result<Self::Output, Error>;
}

/// What every tool may use.
#[derive(Clone)]
pub struct Services {
    /// Deployments by name.
    pub targets: Arc<Targets>,
    /// Records that outlive a run.
    pub documents: Arc<dyn Documents>,
    /// The clock, which a simulated world may own.
    pub clock: Arc<dyn Clock>,
    /// Which fleet: locks and blocked configs of one simulated world are not another's.
    pub fleet: String,
    /// Seed of every random choice.
    pub seed: u64,
    /// How rollouts go here.
    pub rollout: RolloutSettings,
    /// How trials go here.
    pub trial: TrialSettings,
    /// How far back is looked here.
    pub windows: WindowSettings,
}

/// How far back is looked, from the config file. A real server's window must first pass: shorter is sooner, and noisier.
#[derive(Debug, Clone, Copy, PartialEq, serde::Deserialize, serde::Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WindowSettings {
    /// What users get before a change [s], 10 to 3600.
    pub observe_s: u32,
    /// The load that trials repeat, and the baseline that a rollout freezes [s], 10 to 3600.
    pub profile_s: u32,
}

impl Default for WindowSettings {
    fn default() -> Self {
        Self { observe_s: 600, profile_s: 180 }
    }
}

/// Pace of rollouts, from the config file.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, serde::Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RolloutSettings {
    /// Canary shares in order; the last is 100.
    pub steps_percent: Vec<f64>,
    /// Shortest time at one share [s].
    pub bake_time_s: f64,
    /// Longest time at one share [s].
    pub step_time_max_s: f64,
    /// Canary sessions a share needs before a pass counts.
    pub sessions_min: u64,
    /// The old version stays warm this long at the end [s].
    pub soak_s: f64,
    /// Longest wait for a drained version's requests [s].
    pub drain_max_s: f64,
}

impl Default for RolloutSettings {
    fn default() -> Self {
        Self {
            steps_percent: vec![5.0, 25.0, 50.0, 100.0],
            bake_time_s: 120.0,
            step_time_max_s: 1800.0,
            sessions_min: 50,
            soak_s: 300.0,
            drain_max_s: 600.0,
        }
    }
}

/// What a trial does.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum TrialMode {
    /// Measures candidate and running config under the same load, on hardware that users do not need.
    #[default]
    Measured,
    /// Starts the candidate and sends it a few prompts: for hosts whose every core serves users. What users get is the measure then.
    StartOnly,
}

/// Length and size of trials, from the config file.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, serde::Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TrialSettings {
    /// `measured`, or `start_only` where no hardware is spare.
    pub mode: TrialMode,
    /// Left out at the start [s].
    pub warmup_s: f64,
    /// Measured [s].
    pub duration_s: f64,
    /// Offered load as a share of what one replica sees today, 0–1. Under 1 where trial and stable share hardware.
    pub load_ratio: f64,
}

impl Default for TrialSettings {
    fn default() -> Self {
        Self { mode: TrialMode::Measured, warmup_s: 30.0, duration_s: 240.0, load_ratio: 1.0 }
    }
}

/// What one call may use.
pub struct ToolContext {
    /// Shared services.
    pub services: Arc<Services>,
    /// Deployments as they were when the call began.
    pub targets: Arc<ByName>,
    /// Idempotency key of this call.
    pub key: EffectKey,
    /// The run this call belongs to.
    pub run: String,
    /// Who consented to production effects, newest last.
    pub consents: Vec<super::Consent>,
    /// The model that drives the run, for records.
    pub model: String,
    /// Progress, shown live and journaled: any JSON object.
    pub emit: Arc<dyn Fn(Value) + Send + Sync>,
    /// Set when nobody waits for the call any more. A tool that changes something puts it back, and returns.
    pub cancel: CancellationToken,
}

impl ToolContext {
    /// The deployment of that name.
    ///
    /// Errors: [`Error::UnknownDeployment`], with the names there are.
    pub fn target(&self, name: &str) -> Result<&Target, Error> {
        self.targets.get(name).ok_or_else(|| Error::UnknownDeployment {
            name: name.to_owned(),
            known: self.targets.keys().cloned().collect::<Vec<_>>().join(", "),
        })
    }

    /// What `work` comes to, unless the call is cancelled first: then it is dropped where it stands.
    ///
    /// Errors: [`Error::Cancelled`].
    pub async fn unless_cancelled<T>(&self, work: impl Future<Output = T>) -> Result<T, Error> {
        tokio::select! {
            biased;
            done = work => Ok(done),
            () = self.cancel.cancelled() => Err(Error::Cancelled),
        }
    }

    /// Shows that a part of the call began; `expected_s`: how long it should take [s], where that is known.
    pub fn began(&self, label: &str, expected_s: Option<f64>) {
        let mut progress = serde_json::json!({"label": label, "done": 0.0, "total": 1.0});
        if let Some(expected_s) = expected_s {
            progress["expected_s"] = expected_s.into();
        }
        (self.emit)(serde_json::json!({"progress": progress}));
    }

    /// Shows that this part is over.
    pub fn ended(&self, label: &str) {
        (self.emit)(serde_json::json!({"progress": {"label": label, "done": 1.0, "total": 1.0}}));
    }
}
