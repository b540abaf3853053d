//! What can go wrong when an agent is put together or asked.

use crate::base::{Coded, Problem};
use crate::graph::Finding;
use crate::{loadgen, proxy, runtime, serving, store, tools};

/// Errors of the agent's door.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The config file cannot be obeyed.
    #[error("{file}: {detail}")]
    Config {
        /// File.
        file: String,
        /// What is wrong, with its place where known.
        detail: String,
    },
    /// Something that was typed does not read.
    #[error("{argument}: {detail}")]
    Argument {
        /// Which.
        argument: String,
        /// What is wrong with it, and what was expected.
        detail: String,
    },
    /// A graph file is refused; every finding at once.
    #[error("{}", findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Graph {
        /// The findings.
        findings: Vec<Finding>,
        /// The findings with the lines they are about.
        rendered: String,
    },
    /// No such graph.
    #[error("there is no graph `{name}`; there are: {known}")]
    UnknownGraph {
        /// Asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// Graphs or prompts that come with the program: there is no file to write.
    #[error("the {what} of this server are built in: there is no file to change")]
    BuiltIn {
        /// `graphs` or `prompts`.
        what: &'static str,
        /// The flag that names a folder.
        flag: &'static str,
    },
    /// A name that nothing can be written under.
    #[error("`{name}` is no name of a {what} here: {expected}")]
    InvalidName {
        /// `graph` or `prompt`.
        what: &'static str,
        /// The name.
        name: String,
        /// What was expected.
        expected: String,
    },
    /// Another version is there than the one that should be replaced.
    #[error("{}", stale(what, name, current.as_deref()))]
    Stale {
        /// `graph` or `prompt`.
        what: &'static str,
        /// Its name.
        name: String,
        /// The version that is there; `None`: there is none.
        current: Option<String>,
    },
    /// A new graph whose file has the graph of another name.
    #[error("{file} is there, and is the file of another graph")]
    NameTaken {
        /// File.
        file: String,
    },
    /// A deployment that the config file declares: only the file says what it is.
    #[error("deployment `{0}` is declared in the config file")]
    Declared(String),
    /// A deployment of this name is there.
    #[error("there is a deployment `{0}` already")]
    DeploymentExists(String),
    /// A deployment that a rollout changes.
    #[error("rollout `{rollout}` goes on at deployment `{name}`")]
    DeploymentBusy {
        /// Deployment.
        name: String,
        /// Its rollout.
        rollout: String,
    },
    /// A simulated fleet, which no other deployment can be beside.
    #[error(
        "the fleet of this server is simulated: it owns the clock, and nothing real can be beside it"
    )]
    SimulatedFleet,
    /// A deployment that cannot be added.
    #[error("the deployment cannot be added: {0}")]
    InvalidDeployment(String),
    /// No such thread.
    #[error("there is no thread `{0}` in this store")]
    UnknownThread(String),
    /// A file or folder could not be read or written.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// The cause.
        source: std::io::Error,
    },
    /// `--model groq` without a key.
    #[error("a real model was asked for and GROQ_API_KEY is not set")]
    NoKey,
    /// The catalogue has no such model or GPU.
    #[error("the catalogue has no {kind} `{name}`; it has: {known}")]
    NotInCatalogue {
        /// `model` or `gpu`.
        kind: &'static str,
        /// Asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// The run ended in an error.
    #[error("{0}")]
    Run(Problem),
    /// The runtime refused.
    #[error(transparent)]
    Runtime(#[from] runtime::Error),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A tool or its manifest.
    #[error(transparent)]
    Tools(#[from] tools::Error),
    /// A server, the data plane or the simulated world.
    #[error(transparent)]
    Serving(#[from] serving::Error),
    /// The proxy process.
    #[error(transparent)]
    Proxy(#[from] proxy::Error),
    /// The load generator.
    #[error(transparent)]
    Load(#[from] loadgen::Error),
}

fn stale(what: &str, name: &str, current: Option<&str>) -> String {
    match current {
        Some(version) => format!("{what} `{name}` is there, as version {version}"),
        None => format!("there is no {what} `{name}`"),
    }
}

impl Coded for Error {
    fn code(&self) -> &'static str {
        match self {
            Self::Config { .. } => "agent.config",
            Self::Argument { .. } => "agent.argument",
            Self::Graph { .. } => "agent.graph_refused",
            Self::UnknownGraph { .. } => "agent.unknown_graph",
            Self::Declared(_) => "agent.declared",
            Self::DeploymentExists(_) => "agent.deployment_exists",
            Self::DeploymentBusy { .. } => "agent.deployment_busy",
            Self::SimulatedFleet => "agent.simulated_fleet",
            Self::InvalidDeployment(_) => "agent.invalid_deployment",
            Self::BuiltIn { .. } => "agent.built_in",
            Self::InvalidName { .. } => "agent.invalid_name",
            Self::Stale { .. } => "agent.stale",
            Self::NameTaken { .. } => "agent.name_taken",
            Self::UnknownThread(_) => "agent.unknown_thread",
            Self::Io { .. } => "agent.io",
            Self::NoKey => "agent.no_key",
            Self::NotInCatalogue { .. } => "agent.not_in_catalogue",
            Self::Run(_) => "agent.run_failed",
            Self::Runtime(error) => error.code(),
            Self::Store(error) => error.code(),
            Self::Tools(error) => error.code(),
            Self::Serving(error) => error.code(),
            Self::Proxy(error) => error.code(),
            Self::Load(error) => error.code(),
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Config { .. } => "see docs/config.md for every key".to_owned(),
            Self::Graph { .. } => {
                "correct the file; `perf-agent graph check` shows this again".to_owned()
            }
            Self::Argument { .. } => "`--help` shows what each command expects".to_owned(),
            Self::UnknownGraph { .. } => {
                "name one of those; --graphs names another folder of graphs".to_owned()
            }
            Self::Io { .. } => "check the path, its permissions and the disk".to_owned(),
            Self::UnknownThread(_) => {
                "`perf-agent threads list` shows them; --store names another store".to_owned()
            }
            Self::BuiltIn { flag, .. } => {
                format!(
                    "start the server with {flag} FOLDER, a folder of files that may be changed"
                )
            }
            Self::Declared(_) => "change the file, and start the server again".to_owned(),
            Self::DeploymentExists(_) => "change it with PUT, or choose another name".to_owned(),
            Self::DeploymentBusy { .. } => "wait for it, or abort it".to_owned(),
            Self::SimulatedFleet => {
                "start the server with --config and a real deployment in it".to_owned()
            }
            Self::InvalidDeployment(_) => "see docs/config.md, `launcher: external`".to_owned(),
            Self::InvalidName { .. } => "change the path or the text".to_owned(),
            Self::Stale { .. } => {
                "read it again, and repeat the change on what is there".to_owned()
            }
            Self::NameTaken { .. } => "choose another name".to_owned(),
            Self::NoKey => "set GROQ_API_KEY, or run with `--model expert`".to_owned(),
            Self::NotInCatalogue { .. } => {
                "leave it out (rules only, no simulation), or use a listed name".to_owned()
            }
            Self::Run(problem) => problem.hint.clone(),
            Self::Runtime(error) => error.hint(),
            Self::Store(error) => error.hint(),
            Self::Tools(error) => error.hint(),
            Self::Serving(error) => error.hint(),
            Self::Proxy(error) => error.hint(),
            Self::Load(error) => error.hint(),
        }
    }

    fn problem(&self) -> Problem {
        match self {
            Self::Run(problem) => problem.clone(),
            _ => Problem {
                code: self.code().to_owned(),
                message: self.to_string(),
                hint: self.hint(),
            },
        }
    }
}
