//! A serving config: knobs and their values, independent of any engine's flag names.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

macro_rules! knobs {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)+) => {
        /// Something a person can set on a serving engine before it starts.
        ///
        /// Names are vLLM's where it has one; `serving` maps them to each engine's flags.
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
            JsonSchema,
        )]
        pub enum Knob {
            $($(#[$doc])* #[serde(rename = $name)] $variant,)+
        }

        impl Knob {
            /// Every knob, in the order of the list.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The knob's name in configs, reports and schemas.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }
        }
    };
}

knobs! {
    /// Seats: most requests in one batch.
    MaxNumSeqs = "max_num_seqs",
    /// Token budget of one scheduler step.
    MaxNumBatchedTokens = "max_num_batched_tokens",
    /// Share of the device's memory the engine may use, 0–1.
    GpuMemoryUtilization = "gpu_memory_utilization",
    /// Tokens per KV block.
    BlockSize = "block_size",
    /// KV cache element type: `auto`, `fp8` …
    KvCacheDtype = "kv_cache_dtype",
    /// Weight quantization: `none`, `fp8`, `awq` …
    Quantization = "quantization",
    /// GPUs one replica is split over.
    TensorParallelSize = "tensor_parallel_size",
    /// Reuse KV blocks of equal prefixes.
    EnablePrefixCaching = "enable_prefix_caching",
    /// Cut prefills in pieces that share a batch with decode.
    EnableChunkedPrefill = "enable_chunked_prefill",
    /// Longest prompt + answer [tokens].
    MaxModelLen = "max_model_len",
    /// Prompts above this are prefilled in smaller pieces [tokens].
    LongPrefillTokenThreshold = "long_prefill_token_threshold",
    /// No CUDA graphs / no compilation.
    EnforceEager = "enforce_eager",
    /// Over this many waiting requests the engine answers 503.
    MaxNumQueuedReqs = "max_num_queued_reqs",
    /// KV blocks, set by hand.
    NumGpuBlocksOverride = "num_gpu_blocks_override",
    /// Draft tokens per step of speculative decoding; 0 is off.
    SpeculativeTokens = "speculative_tokens",
    /// Overlap scheduling with execution.
    AsyncScheduling = "async_scheduling",
    /// CPU engine: cores the workers are bound to, `auto` or `0-1`.
    CpuOmpThreadsBind = "cpu_omp_threads_bind",
    /// CPU engine: KV cache space [GiB].
    CpuKvCacheSpaceGib = "cpu_kv_cache_space_gib",
    /// SGLang: how eagerly to admit, 0–2.
    ScheduleConservativeness = "schedule_conservativeness",
    /// TGI: decode steps a waiting prefill may be held back.
    MaxWaitingTokens = "max_waiting_tokens",
    /// TGI: waiting/running ratio that forces a prefill.
    WaitingServedRatio = "waiting_served_ratio",
    /// TGI: longest prompt [tokens].
    MaxInputTokens = "max_input_tokens",
    /// TGI: tokens of all requests in a batch.
    MaxBatchTotalTokens = "max_batch_total_tokens",
}

impl std::fmt::Display for Knob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A knob's value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum KnobValue {
    /// On or off.
    Bool(bool),
    /// A count.
    Int(i64),
    /// A share or ratio.
    Float(f64),
    /// A name.
    Text(String),
}

impl std::fmt::Display for KnobValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value}"),
            Self::Text(value) => f.write_str(value),
        }
    }
}

/// The knobs that are set; a knob that is absent has the engine's own default.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct ServingConfig(pub BTreeMap<Knob, KnobValue>);

impl ServingConfig {
    /// The value of `knob`, if set.
    pub fn value(&self, knob: Knob) -> Option<&KnobValue> {
        self.0.get(&knob)
    }

    /// The value as a count; `None` when unset or not a whole number.
    pub fn int(&self, knob: Knob) -> Option<i64> {
        match self.0.get(&knob)? {
            KnobValue::Int(value) => Some(*value),
            KnobValue::Float(value) if value.fract() == 0.0 => Some(*value as i64),
            _ => None,
        }
    }

    /// The value as a real number.
    pub fn float(&self, knob: Knob) -> Option<f64> {
        match self.0.get(&knob)? {
            KnobValue::Int(value) => Some(*value as f64),
            KnobValue::Float(value) => Some(*value),
            _ => None,
        }
    }

    /// The value as a switch.
    pub fn bool(&self, knob: Knob) -> Option<bool> {
        match self.0.get(&knob)? {
            KnobValue::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The value as a name.
    pub fn text(&self, knob: Knob) -> Option<&str> {
        match self.0.get(&knob)? {
            KnobValue::Text(value) => Some(value),
            _ => None,
        }
    }

    /// The same config with `knob` set to `value`.
    #[must_use]
    pub fn with(mut self, knob: Knob, value: KnobValue) -> Self {
        self.0.insert(knob, value);
        self
    }

    /// Equal configs have equal fingerprints: 32 hex digits.
    pub fn fingerprint(&self) -> String {
        let text = serde_json::to_string(self).unwrap_or_default();
        crate::base::stable_hash(&["config", &text])
    }
}

/// One knob's move; `None` is the engine's default.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// Before.
    pub from: Option<KnobValue>,
    /// After.
    pub to: Option<KnobValue>,
}

/// The knobs on which two configs differ.
pub fn changes_between(from: &ServingConfig, to: &ServingConfig) -> BTreeMap<Knob, Change> {
    let knobs = from.0.keys().chain(to.0.keys()).copied();
    let change = |knob| Change { from: from.value(knob).cloned(), to: to.value(knob).cloned() };
    knobs.map(|knob| (knob, change(knob))).filter(|(_, c)| c.from != c.to).collect()
}
