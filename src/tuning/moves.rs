//! Single moves of a knob, and how a set of them becomes a proposal.

use crate::domain::{
    Deployment, Knob, KnobValue, Prediction, Proposal, ServingConfig, changes_between,
};

/// One knob set to one value (`None` takes it out: the engine's default), and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Move {
    /// The knob.
    pub knob: Knob,
    /// Its new value.
    pub value: Option<KnobValue>,
    /// Why, a clause without a full stop.
    pub why: String,
}

impl Move {
    /// Sets `knob` to `value` because of `why`.
    pub fn set(knob: Knob, value: KnobValue, why: impl Into<String>) -> Self {
        Self { knob, value: Some(value), why: why.into() }
    }

    /// Takes `knob` out because of `why`.
    pub fn unset(knob: Knob, why: impl Into<String>) -> Self {
        Self { knob, value: None, why: why.into() }
    }

    /// `config` with this move made.
    pub fn apply(&self, config: &ServingConfig) -> ServingConfig {
        match &self.value {
            Some(value) => config.clone().with(self.knob, value.clone()),
            None => {
                let mut config = config.clone();
                config.0.remove(&self.knob);
                config
            }
        }
    }
}

/// The proposal that turns the running config of `deployment` into `config`.
pub fn proposal(
    deployment: &Deployment,
    config: ServingConfig,
    rationale: String,
    prediction: Option<Prediction>,
) -> Proposal {
    let change = changes_between(&deployment.config, &config);
    let parts: Vec<String> =
        change.iter().map(|(knob, change)| part(*knob, change.to.as_ref())).collect();
    let name = if parts.is_empty() { "as-is".to_owned() } else { parts.join("-") };
    Proposal { name, deployment: deployment.name.clone(), config, change, rationale, prediction }
}

/// A knob's part of a proposal's name: `seats-64`, `compiled`.
fn part(knob: Knob, value: Option<&KnobValue>) -> String {
    let on = |on: &'static str, off: &'static str| match value {
        Some(KnobValue::Bool(true)) => on.to_owned(),
        _ => off.to_owned(),
    };
    let valued = |name: &str| match value {
        Some(value) => format!("{name}-{value}"),
        None => format!("{name}-default"),
    };
    match knob {
        Knob::EnforceEager => on("eager", "compiled"),
        Knob::EnablePrefixCaching => on("prefix", "no-prefix"),
        Knob::EnableChunkedPrefill => on("chunked", "unchunked"),
        Knob::AsyncScheduling => on("async", "sync"),
        Knob::MaxNumSeqs => valued("seats"),
        Knob::MaxNumBatchedTokens => valued("budget"),
        Knob::GpuMemoryUtilization => valued("memory"),
        Knob::TensorParallelSize => valued("tp"),
        Knob::KvCacheDtype => valued("kv"),
        Knob::Quantization => valued("weights"),
        Knob::CpuOmpThreadsBind => valued("cores"),
        Knob::LongPrefillTokenThreshold => valued("long-prefill"),
        Knob::NumGpuBlocksOverride => valued("kv-blocks"),
        _ => valued(&knob.name().replace('_', "-")),
    }
}

/// What a change may cost besides speed, by knob: the safest knobs come first in every list.
///
/// Scheduler knobs only move requests about; memory can fail at start; devices move money; precision moves answers.
pub fn risk(knob: Knob) -> u32 {
    match knob {
        Knob::MaxNumSeqs
        | Knob::MaxNumBatchedTokens
        | Knob::EnablePrefixCaching
        | Knob::EnableChunkedPrefill
        | Knob::LongPrefillTokenThreshold
        | Knob::AsyncScheduling
        | Knob::ScheduleConservativeness
        | Knob::MaxWaitingTokens
        | Knob::WaitingServedRatio => 1,
        Knob::EnforceEager | Knob::CpuOmpThreadsBind | Knob::BlockSize => 2,
        Knob::GpuMemoryUtilization
        | Knob::NumGpuBlocksOverride
        | Knob::CpuKvCacheSpaceGib
        | Knob::MaxBatchTotalTokens
        | Knob::SpeculativeTokens => 3,
        Knob::TensorParallelSize => 5,
        Knob::MaxModelLen | Knob::MaxInputTokens | Knob::MaxNumQueuedReqs => 6,
        Knob::KvCacheDtype => 8,
        Knob::Quantization => 10,
    }
}

/// Whether a knob may change what the model answers.
pub fn may_change_quality(knob: Knob) -> bool {
    matches!(knob, Knob::KvCacheDtype | Knob::Quantization)
}

/// The risk of turning the running config into `config`.
pub fn risk_of_change(from: &ServingConfig, to: &ServingConfig) -> u32 {
    changes_between(from, to).keys().map(|knob| risk(*knob)).sum()
}
