//! Knobs that belong together: what a run may be limited to.

use super::Knob;

/// A family of knobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Room for KV blocks and their reuse; their precision is [`Family::Quantize`]'s.
    KvCache,
    /// Precision of weights and KV cache: it may change what the model answers.
    Quantize,
    /// What shares a batch, and when.
    Batch,
    /// Devices and cores of one replica.
    Parallelism,
}

impl Family {
    /// Its knobs, of every engine.
    pub fn knobs(self) -> &'static [Knob] {
        match self {
            Self::KvCache => &[
                Knob::GpuMemoryUtilization,
                Knob::BlockSize,
                Knob::EnablePrefixCaching,
                Knob::NumGpuBlocksOverride,
                Knob::CpuKvCacheSpaceGib,
            ],
            Self::Quantize => &[Knob::Quantization, Knob::KvCacheDtype],
            Self::Batch => &[
                Knob::MaxNumSeqs,
                Knob::MaxNumBatchedTokens,
                Knob::EnableChunkedPrefill,
                Knob::LongPrefillTokenThreshold,
                Knob::AsyncScheduling,
                Knob::ScheduleConservativeness,
                Knob::MaxWaitingTokens,
                Knob::WaitingServedRatio,
                Knob::MaxBatchTotalTokens,
            ],
            Self::Parallelism => &[Knob::TensorParallelSize, Knob::CpuOmpThreadsBind],
        }
    }
}
