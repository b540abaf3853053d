//! A server that does not start, in the words vLLM ends with.

use super::fault::Setting;
use crate::serving::Error;
use crate::sim::Refusal;

/// The start that a refused config comes to.
///
/// Source: vLLM's `vllm/v1/core/kv_cache_utils.py` (memory), `vllm/config` (knobs).
pub(super) fn refused(refusal: &Refusal) -> Error {
    let reason = refusal.to_string();
    let last = match refusal {
        Refusal::OutOfMemory { .. } => {
            "ValueError: No available memory for the cache blocks. Try increasing \
             `gpu_memory_utilization` when initializing the engine."
                .to_owned()
        }
        Refusal::KvTooSmall { max_model_len, kv_tokens } => format!(
            "ValueError: To serve at least one request with the models's max seq len \
             ({max_model_len}), more KV cache memory is needed than is available. The estimated \
             maximum model length is {kv_tokens}. Try increasing `gpu_memory_utilization` or \
             decreasing `max_model_len` when initializing the engine."
        ),
        Refusal::Knob(text) => format!("ValueError: {text}"),
    };
    failed(reason, &[last])
}

/// The start that a fault spoils.
pub(super) fn forbidden(setting: &Setting) -> Error {
    let Setting { knob, value } = setting;
    failed(
        format!("the engine core died while it started with {knob}={value}"),
        &["RuntimeError: CUDA error: an illegal memory access was encountered".to_owned()],
    )
}

/// The start of a server for which there are no devices.
pub(super) fn no_room(needed: u32, free: u32, all: u32) -> Error {
    failed(
        format!("{needed} GPUs are needed and {free} of {all} are free"),
        &[format!(
            "ValueError: World size ({needed}) is larger than the number of available GPUs ({free})"
        )],
    )
}

fn failed(reason: String, last: &[String]) -> Error {
    let core = "ERROR [core.py] EngineCore failed to start.".to_owned();
    let end = "RuntimeError: Engine core initialization failed. See root cause above.".to_owned();
    let last_lines = std::iter::once(core).chain(last.iter().cloned()).chain([end]).collect();
    Error::StartFailed { reason, last_lines }
}
