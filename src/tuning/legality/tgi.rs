//! What TGI's router refuses at start. Source: `router/src/server.rs` of TGI 3.
//!
//! Names here are the common knobs: `max_model_len` is `max_total_tokens`, the token budget is `max_batch_prefill_tokens`,
//! seats are `max_batch_size`, `max_num_queued_reqs` is `max_concurrent_requests`.

use super::Violation;
use super::common::{floor, one_of, ordered, share};
use crate::domain::{Knob, ServingConfig};

const QUANTIZATIONS: [&str; 9] =
    ["none", "awq", "compressed-tensors", "eetq", "exl2", "gptq", "marlin", "bitsandbytes", "fp8"];
const KV_DTYPES: [&str; 3] = ["auto", "fp8_e5m2", "fp8_e4m3fn"];

/// Every rule.
pub fn rules(config: &ServingConfig) -> Vec<Violation> {
    let floors = [
        (Knob::MaxNumSeqs, 1),
        (Knob::MaxNumQueuedReqs, 1),
        (Knob::MaxInputTokens, 1),
        (Knob::MaxWaitingTokens, 0),
        (Knob::SpeculativeTokens, 0),
    ];
    let floors = floors.into_iter().filter_map(|(knob, least)| floor(config, knob, least));
    let others = [
        ordered(config, Knob::MaxInputTokens, Knob::MaxModelLen, true),
        ordered(config, Knob::MaxModelLen, Knob::MaxBatchTotalTokens, false),
        ordered(config, Knob::MaxInputTokens, Knob::MaxNumBatchedTokens, false),
        ordered(config, Knob::MaxNumBatchedTokens, Knob::MaxBatchTotalTokens, false),
        share(config, Knob::GpuMemoryUtilization, 0.0, 1.0),
        share(config, Knob::WaitingServedRatio, 0.0, 100.0),
        one_of(config, Knob::Quantization, &QUANTIZATIONS),
        one_of(config, Knob::KvCacheDtype, &KV_DTYPES),
    ];
    floors.chain(others.into_iter().flatten()).collect()
}
