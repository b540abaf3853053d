//! From the knobs that are set to a whole engine config: vLLM 0.32's defaults and refusals.

use super::memory::GIB;
use super::{EngineConfig, Refusal};
use crate::domain::{GpuSpec, Knob, KnobValue, ModelSpec, ServingConfig};

impl EngineConfig {
    /// Fills in vLLM's defaults for this model and device, and refuses what vLLM refuses.
    ///
    /// Errors: [`Refusal::Knob`] naming the knob and the rule.
    pub fn resolve(
        config: &ServingConfig,
        model: &ModelSpec,
        gpu: &GpuSpec,
    ) -> Result<Self, Refusal> {
        let gib = gpu.memory_bytes / GIB;
        let a100 = gpu.name.eq_ignore_ascii_case("A100");
        let large = gib >= 70.0 && !a100;
        let budget_default = if gib >= 160.0 && large {
            16_384
        } else if large {
            8_192
        } else {
            2_048
        };
        let (weight_bytes, fp8_compute) = weights(config, gpu)?;
        let resolved = Self {
            max_num_seqs: count(config, Knob::MaxNumSeqs, 1)?.unwrap_or(if large {
                1024
            } else {
                256
            }),
            max_num_batched_tokens: count(config, Knob::MaxNumBatchedTokens, 1)?
                .unwrap_or(budget_default),
            gpu_memory_utilization: config.float(Knob::GpuMemoryUtilization).unwrap_or(0.92),
            block_size: count(config, Knob::BlockSize, 1)?.unwrap_or(16),
            kv_bytes: kv_bytes(config)?,
            weight_bytes,
            fp8_compute,
            tensor_parallel_size: count(config, Knob::TensorParallelSize, 1)?.unwrap_or(1),
            enable_prefix_caching: config.bool(Knob::EnablePrefixCaching).unwrap_or(true),
            enable_chunked_prefill: config.bool(Knob::EnableChunkedPrefill).unwrap_or(true),
            max_model_len: count(config, Knob::MaxModelLen, 1)?.unwrap_or(model.context_max),
            long_prefill_token_threshold: count(config, Knob::LongPrefillTokenThreshold, 0)?
                .unwrap_or(0),
            enforce_eager: config.bool(Knob::EnforceEager).unwrap_or(false),
            max_num_queued_reqs: count(config, Knob::MaxNumQueuedReqs, 0)?,
            num_gpu_blocks_override: count(config, Knob::NumGpuBlocksOverride, 1)?,
            speculative_tokens: count(config, Knob::SpeculativeTokens, 0)?.unwrap_or(0),
            async_scheduling: config.bool(Knob::AsyncScheduling).unwrap_or(true),
        };
        resolved.check(model)?;
        Ok(resolved)
    }

    fn check(&self, model: &ModelSpec) -> Result<(), Refusal> {
        let refuse = |text: String| Err(Refusal::Knob(text));
        if self.max_num_batched_tokens < self.max_num_seqs {
            return refuse(format!(
                "max_num_batched_tokens ({}) must be at least max_num_seqs ({})",
                self.max_num_batched_tokens, self.max_num_seqs
            ));
        }
        if !self.enable_chunked_prefill && self.max_num_batched_tokens < self.max_model_len {
            return refuse(format!(
                "without chunked prefill max_num_batched_tokens ({}) must be at least max_model_len ({})",
                self.max_num_batched_tokens, self.max_model_len
            ));
        }
        if !(self.gpu_memory_utilization > 0.0 && self.gpu_memory_utilization <= 1.0) {
            return refuse(format!(
                "gpu_memory_utilization ({}) must lie in (0, 1]",
                self.gpu_memory_utilization
            ));
        }
        if !self.block_size.is_multiple_of(16) {
            return refuse(format!(
                "block_size ({}) must be a multiple of 16: no attention backend supports it",
                self.block_size
            ));
        }
        if !model.heads.is_multiple_of(self.tensor_parallel_size) {
            return refuse(format!(
                "tensor_parallel_size ({}) must divide the model's {} heads",
                self.tensor_parallel_size, model.heads
            ));
        }
        if self.max_model_len > model.context_max {
            return refuse(format!(
                "max_model_len ({}) is more than the model's {}",
                self.max_model_len, model.context_max
            ));
        }
        if self.long_prefill_token_threshold > self.max_model_len {
            return refuse(format!(
                "long_prefill_token_threshold ({}) is more than max_model_len ({})",
                self.long_prefill_token_threshold, self.max_model_len
            ));
        }
        Ok(())
    }
}

fn count(config: &ServingConfig, knob: Knob, min: i64) -> Result<Option<u32>, Refusal> {
    let Some(value) = config.value(knob) else { return Ok(None) };
    let whole = config.int(knob).filter(|n| *n >= min).and_then(|n| u32::try_from(n).ok());
    whole.map(Some).ok_or_else(|| {
        Refusal::Knob(format!("{knob} must be a whole number of at least {min}, not {value}"))
    })
}

/// Bytes per weight, and whether GEMMs run on 8-bit units.
fn weights(config: &ServingConfig, gpu: &GpuSpec) -> Result<(f64, bool), Refusal> {
    let fp8_units = gpu.peak_flops_fp8 > gpu.peak_flops;
    match config.text(Knob::Quantization) {
        None | Some("none" | "auto") => Ok((2.0, false)),
        Some("fp8") => Ok((1.0, fp8_units)),
        Some("int8" | "w8a8") => Ok((1.0, false)),
        Some("awq" | "gptq" | "int4" | "awq_marlin" | "gptq_marlin") => Ok((0.55, false)),
        Some(other) => Err(Refusal::Knob(format!("quantization `{other}` is not known"))),
    }
}

fn kv_bytes(config: &ServingConfig) -> Result<f64, Refusal> {
    match config.value(Knob::KvCacheDtype) {
        None => Ok(2.0),
        Some(KnobValue::Text(name)) if name == "auto" => Ok(2.0),
        Some(KnobValue::Text(name)) if name.starts_with("fp8") => Ok(1.0),
        Some(other) => Err(Refusal::Knob(format!("kv_cache_dtype `{other}` is not known"))),
    }
}
