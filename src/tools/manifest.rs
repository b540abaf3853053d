//! A tool's manifest: what its owner allows, in YAML. It can forbid, slow or gate a tool, never widen it.

use serde::{Deserialize, Serialize};

use super::Error;

/// What a call may change.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Nothing.
    Read,
    /// Things no user sees: a trial server.
    Stage,
    /// What users get.
    Production,
}

/// Whether a call needs consent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Approval {
    /// No.
    None,
    /// The thread must hold a granted approval.
    Required,
}

/// One manifest file of `tools/`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Name of the tool.
    pub tool: String,
    /// Off: neither graphs nor models can call it.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// What a call may change; not less than the tool's own.
    pub effect: Effect,
    /// Whether a call needs consent.
    pub approval: Approval,
    /// `idempotent`, `probe` or `at_most_once`: what happens to a call that was begun when the agent died.
    pub on_crash: String,
    /// Longest call [s] by the clock of the deployment.
    pub timeout_s: u64,
    /// What the model is told about it.
    pub tell: String,
}

fn yes() -> bool {
    true
}

impl Manifest {
    /// Reads one manifest.
    ///
    /// Errors: [`Error::BadManifest`] with file, line and column.
    pub fn parse(file: &str, text: &str) -> Result<Self, Error> {
        let bad = |detail: String| Error::BadManifest { file: file.to_owned(), detail };
        let manifest: Self = serde_saphyr::from_str(text).map_err(|e| bad(e.to_string()))?;
        match manifest.on_crash.as_str() {
            "idempotent" | "probe" | "at_most_once" => Ok(manifest),
            other => Err(bad(format!(
                "on_crash is `{other}`; expected idempotent, probe or at_most_once"
            ))),
        }
    }
}
