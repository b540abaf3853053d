//! Whether weights, activations and one longest request fit the device: asked of the simulator.

use super::Violation;
use crate::domain::{Deployment, EngineKind, Knob, ServingConfig};
use crate::sim::Refusal;
use crate::tuning::setting::{on_cpu, replica};

/// What does not fit; nothing when it does, or when model or device are unknown.
pub fn fits(deployment: &Deployment, config: &ServingConfig) -> Option<Violation> {
    // Other engines lay out memory differently; only vLLM's is modelled.
    if deployment.engine != EngineKind::Vllm || on_cpu(deployment) {
        return None;
    }
    let refusal = match replica(deployment, config)? {
        Err(refusal) => refusal,
        Ok(replica) => replica.kv_blocks().err()?,
    };
    let message = refusal.to_string();
    Some(match refusal {
        Refusal::OutOfMemory { .. } => Violation::new(
            "out_of_memory",
            Knob::GpuMemoryUtilization,
            message,
            "raise tensor_parallel_size or gpu_memory_utilization, or quantize the weights",
        ),
        Refusal::KvTooSmall { .. } => Violation::new(
            "kv_too_small",
            Knob::MaxModelLen,
            message,
            "lower max_model_len, or raise gpu_memory_utilization or tensor_parallel_size",
        ),
        Refusal::Knob(_) => {
            Violation::new("refused", named_knob(&message), message, "use a value the engine takes")
        }
    })
}

/// The knob that a refusal names, by its longest name in the text.
fn named_knob(message: &str) -> Knob {
    let named = Knob::ALL.iter().filter(|knob| message.contains(knob.name()));
    named.max_by_key(|knob| knob.name().len()).copied().unwrap_or(Knob::MaxNumSeqs)
}
