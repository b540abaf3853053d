//! The config file: which deployments there are and how they are run, in YAML.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Error;
use crate::domain::{EngineKind, Limits, ServingConfig};
use crate::serving::simulated::WorldSpec;
use crate::tools::{RolloutSettings, TrialMode, TrialSettings, WindowSettings};

/// A config file.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ConfigFile {
    /// What is served. Empty: the default simulated fleet.
    pub deployments: Vec<DeploymentConfig>,
    /// Pace of rollouts.
    pub rollout: RolloutSettings,
    /// Length of trials.
    pub trial: TrialSettings,
    /// How far back is looked.
    pub windows: WindowSettings,
    /// What is forgotten of finished runs.
    pub retention: RetentionSettings,
    /// The text all this was read from, kept beside every run; `None`: no file was given.
    #[serde(skip)]
    pub text: Option<String>,
}

/// What is forgotten of threads whose run is over; what is left out is kept for ever.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RetentionSettings {
    /// Finished threads kept, the ones that changed last.
    pub threads_max: Option<usize>,
    /// Days after which a finished thread goes. A simulated fleet has a calendar of its own: there nothing ages.
    pub days_max: Option<u64>,
    /// Checkpoints kept of each finished thread, the newest.
    pub checkpoints_max: Option<usize>,
    /// Journal entries kept of each finished thread, the newest.
    pub events_max: Option<u64>,
}

impl RetentionSettings {
    /// Whether everything is kept.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// One deployment: the launcher says how its servers come to be.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(tag = "launcher", rename_all = "snake_case", deny_unknown_fields)]
pub enum DeploymentConfig {
    /// A fleet simulated in this process, in virtual time.
    Simulated {
        /// The world; left out: the default fleet.
        #[serde(default)]
        world: Box<WorldSpec>,
    },
    /// Servers that the agent starts on this host, behind its own proxy.
    Process(Box<ProcessDeployment>),
    /// A server that someone else starts: observe and advise only.
    External(Box<ExternalDeployment>),
}

/// A deployment on this host.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProcessDeployment {
    /// Unique name.
    pub name: String,
    /// Engine.
    pub engine: EngineKind,
    /// Program to start: `vllm`, or a path. `${NAME}` here, in `args`, `env` and `state_dir` is the environment's.
    pub program: String,
    /// Arguments before the config's flags: `[serve, /models/smol]`.
    pub args: Vec<String>,
    /// Environment of the servers.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Name under which the model is served.
    pub served_model: String,
    /// The model's shape: a name from the catalogue; left out: no simulation, rules only.
    #[serde(default)]
    pub model: Option<String>,
    /// The device: a name from the catalogue, or `cpu-2` for two cores.
    #[serde(default)]
    pub gpu: Option<String>,
    /// GPUs of this deployment.
    #[serde(default = "one")]
    pub gpus: u32,
    /// The config to start with.
    pub config: ServingConfig,
    /// Standing limits.
    #[serde(default)]
    pub limits: Limits,
    /// Where the proxy listens for users.
    #[serde(default = "proxy_listen")]
    pub listen: String,
    /// Folder for state, logs and the proxy's socket.
    pub state_dir: PathBuf,
    /// Ports for servers: first and last.
    #[serde(default = "ports")]
    pub ports: (u16, u16),
    /// Longest start [s].
    #[serde(default = "start_timeout_s")]
    pub start_timeout_s: u64,
}

/// A deployment that someone else runs.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExternalDeployment {
    /// Unique name.
    pub name: String,
    /// Engine.
    pub engine: EngineKind,
    /// Base URLs of its replicas: `http://127.0.0.1:8000`.
    pub endpoints: Vec<String>,
    /// Name under which the model is served.
    pub served_model: String,
    /// The model's shape: a name from the catalogue.
    #[serde(default)]
    pub model: Option<String>,
    /// The device: a name from the catalogue.
    #[serde(default)]
    pub gpu: Option<String>,
    /// GPUs of this deployment.
    #[serde(default = "one")]
    pub gpus: u32,
    /// The config it runs, as far as its pages do not say.
    #[serde(default)]
    pub config: ServingConfig,
    /// Standing limits.
    #[serde(default)]
    pub limits: Limits,
}

fn one() -> u32 {
    1
}

fn proxy_listen() -> String {
    "127.0.0.1:8001".to_owned()
}

fn ports() -> (u16, u16) {
    (8100, 8199)
}

fn start_timeout_s() -> u64 {
    600
}

impl ConfigFile {
    /// Reads and checks a config file.
    ///
    /// Errors: [`Error::Config`] with line and column, or with what cannot be together.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let file = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| Error::Io {
            what: format!("reading the config file {file}"),
            source: error,
        })?;
        Self::parse(&file, &text)
    }

    /// Reads and checks the text of a config file.
    ///
    /// Errors: [`Error::Config`].
    pub fn parse(file: &str, text: &str) -> Result<Self, Error> {
        let bad = |detail: String| Error::Config { file: file.to_owned(), detail };
        let config: Self = serde_saphyr::from_str(text).map_err(|error| bad(pointed(&error)))?;
        config.check().map_err(bad)?;
        Ok(Self { text: Some(text.to_owned()), ..config })
    }

    fn check(&self) -> Result<(), String> {
        let simulated = self
            .deployments
            .iter()
            .filter(|d| matches!(d, DeploymentConfig::Simulated { .. }))
            .count();
        if simulated > 1 || (simulated == 1 && self.deployments.len() > 1) {
            return Err(
                "a simulated fleet owns the clock: it must be the only deployment".to_owned()
            );
        }
        let steps = &self.rollout.steps_percent;
        let rising = steps.windows(2).all(|pair| pair[0] < pair[1]);
        if steps.last() != Some(&100.0) || !rising || steps.iter().any(|s| !(*s > 0.0)) {
            return Err("rollout.steps_percent must rise from above 0 to exactly 100".to_owned());
        }
        if self.trial.mode == TrialMode::StartOnly && steps.as_slice() != [100.0] {
            return Err("trial.mode start_only says that no hardware is spare: \
                        a compared share would measure the neighbour; set rollout.steps_percent to [100]"
                .to_owned());
        }
        let window_s = 10..=3600;
        if ![self.windows.observe_s, self.windows.profile_s].iter().all(|s| window_s.contains(s)) {
            return Err("windows.observe_s and windows.profile_s must lie in 10 to 3600".to_owned());
        }
        if !(self.trial.load_ratio > 0.0 && self.trial.load_ratio <= 1.0) {
            return Err("trial.load_ratio must lie in (0, 1]".to_owned());
        }
        let mut names: Vec<&str> =
            self.deployments.iter().filter_map(DeploymentConfig::name).collect();
        names.sort_unstable();
        match names.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(format!("two deployments are called `{}`", pair[0])),
            None => Ok(()),
        }
    }
}

/// The parser's words with the lines they are about, without its own heading and its name for the text.
fn pointed(error: &serde_saphyr::Error) -> String {
    let text = error.to_string();
    let lines = text.trim_start_matches("error: ").lines();
    let own = lines.filter(|line| !line.trim_start().starts_with("--> <input>"));
    own.collect::<Vec<_>>().join("\n")
}

impl DeploymentConfig {
    fn name(&self) -> Option<&str> {
        match self {
            Self::Simulated { .. } => None,
            Self::Process(process) => Some(&process.name),
            Self::External(external) => Some(&external.name),
        }
    }
}

impl ProcessDeployment {
    /// Itself with every `${NAME}` replaced.
    ///
    /// Errors: [`Error::Config`] for a variable that is not set.
    pub(super) fn expanded(
        &self,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, Error> {
        let expand = |text: &str| expand(&self.name, text, variable);
        let mut expanded = self.clone();
        expanded.program = expand(&self.program)?;
        expanded.args = self.args.iter().map(|arg| expand(arg)).collect::<Result<_, _>>()?;
        for value in expanded.env.values_mut() {
            *value = expand(value)?;
        }
        expanded.state_dir = expand(&self.state_dir.to_string_lossy())?.into();
        Ok(expanded)
    }
}

fn expand(
    name: &str,
    text: &str,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<String, Error> {
    let bad = |detail: String| Error::Config { file: format!("deployment `{name}`"), detail };
    let (mut expanded, mut rest) = (String::new(), text);
    while let Some(at) = rest.find("${") {
        let (before, from) = rest.split_at(at);
        let end = from.find('}').ok_or_else(|| bad(format!("`{text}` has a ${{ without a }}")))?;
        let wanted = &from[2..end];
        let value = variable(wanted)
            .ok_or_else(|| bad(format!("`{text}`: {wanted} is not set in the environment")))?;
        expanded.push_str(before);
        expanded.push_str(&value);
        rest = &from[end + 1..];
    }
    expanded.push_str(rest);
    Ok(expanded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_replaced_and_missing_ones_named() {
        let known = |name: &str| (name == "HOME").then(|| "/h".to_owned());
        assert_eq!(expand("chat", "${HOME}/x/${HOME}", &known).ok().as_deref(), Some("/h/x//h"));
        let error = expand("chat", "${NOPE}", &known).err().map(|e| e.to_string());
        assert!(error.is_some_and(|text| text.contains("NOPE is not set")));
    }
}
