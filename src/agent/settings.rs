//! What an agent is assembled from: nothing here is optional that is used.

use std::path::PathBuf;

use secrecy::SecretString;

/// Which model drives the agent nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ModelChoice {
    /// The provider when there is a key, the expert when there is none.
    Auto,
    /// The built-in expert.
    Expert,
    /// The provider; a missing key is an error.
    Groq,
}

/// How to reach an OpenAI-compatible model.
#[derive(Debug, Clone)]
pub struct ModelSettings {
    /// Which model drives.
    pub choice: ModelChoice,
    /// `GROQ_API_KEY`.
    pub api_key: Option<SecretString>,
    /// `LLM_BASE_URL`.
    pub base_url: String,
    /// `GROQ_MODEL`.
    pub model: String,
    /// `LLM_TIMEOUT` [s].
    pub timeout_s: u64,
    /// `LLM_MAX_RETRIES`.
    pub retries_max: u32,
}

/// Everything an agent needs to know before it starts.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `memory:` or `sqlite:PATH`.
    pub store_url: String,
    /// Seed of every random choice, and of the simulated fleet.
    pub seed: u64,
    /// The model.
    pub model: ModelSettings,
    /// Deployments, rollout and trial pace.
    pub config: super::ConfigFile,
    /// Folder of graphs; `None`: the built-in ones.
    pub graphs: Option<PathBuf>,
    /// Folder of prompts; `None`: the built-in ones.
    pub prompts: Option<PathBuf>,
    /// Folder of tool manifests; `None`: the built-in ones.
    pub tools: Option<PathBuf>,
    /// Who runs this, for records of consent.
    pub operator: String,
    /// Only what is written down is looked at: no server or proxy of the deployments is touched, or needed.
    pub records_only: bool,
}

impl Settings {
    /// The file behind the store; `None` for memory.
    pub fn store_path(&self) -> Option<PathBuf> {
        self.store_url.strip_prefix("sqlite:").map(PathBuf::from)
    }
}
