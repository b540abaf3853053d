//! What an engine refuses, known before anything starts.

mod common;
mod memory;
mod sglang;
mod tgi;
mod vllm;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::{Deployment, EngineKind, Knob, ServingConfig};

/// Why a config would not start, or would hurt right after.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Violation {
    /// `tuning.reason`, stable.
    pub code: String,
    /// The knob to change.
    pub knob: Knob,
    /// What is wrong and what the engine expects.
    pub message: String,
    /// What to do.
    pub hint: String,
}

impl Violation {
    fn new(code: &str, knob: Knob, message: String, hint: impl Into<String>) -> Self {
        Self { code: format!("tuning.{code}"), knob, message, hint: hint.into() }
    }
}

/// Everything `deployment`'s engine would refuse in `config`, all at once; empty when it is legal.
///
/// Rules are those of vLLM 0.32, SGLang 0.5 and TGI 3. Memory is checked through the simulator where model and device are
/// known; where they are not, only the engine itself can tell.
pub fn check(deployment: &Deployment, config: &ServingConfig) -> Vec<Violation> {
    let mut violations = common::types(config);
    if !violations.is_empty() {
        // Ranges of values of the wrong type would only repeat the first complaint.
        return violations;
    }
    violations.extend(common::supported(deployment, config));
    violations.extend(match deployment.engine {
        EngineKind::Vllm => vllm::rules(deployment, config),
        EngineKind::Sglang => sglang::rules(deployment, config),
        EngineKind::Tgi => tgi::rules(config),
    });
    violations.extend(common::devices(deployment, config));
    if violations.is_empty() {
        violations.extend(memory::fits(deployment, config));
    }
    violations
}
