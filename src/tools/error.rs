//! Why a tool call was refused or failed.

use crate::base::{Coded, Problem};
use crate::{rollout, serving, tuning};

/// Kinds of failure that callers treat differently. The names are those of `retry.on` in graphs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// No answer in time.
    Timeout,
    /// The other side is not there.
    Unavailable,
    /// Wrong input.
    Invalid,
    /// Not allowed.
    Denied,
    /// Begun before a crash, end unknown.
    InDoubt,
    /// Nobody waits for it any more.
    Cancelled,
    /// Trying again will not mend it.
    Fatal,
}

/// Errors of tools and their registry.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No such tool.
    #[error("there is no tool `{name}`; there are: {known}")]
    UnknownTool {
        /// Asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// Its manifest turns it off.
    #[error("tool `{0}` is switched off by its manifest")]
    Disabled(String),
    /// Arguments do not fit the schema.
    #[error("arguments of `{tool}` do not fit its schema: {detail}")]
    InvalidArguments {
        /// Tool.
        tool: String,
        /// Each misfit, with its path.
        detail: String,
    },
    /// A production effect without consent.
    #[error("`{0}` changes what users get and nobody has approved that on this thread")]
    ApprovalMissing(String),
    /// A manifest that cannot be obeyed.
    #[error("{file}: {detail}")]
    BadManifest {
        /// File.
        file: String,
        /// What is wrong.
        detail: String,
    },
    /// No such deployment.
    #[error("there is no deployment `{name}`; there are: {known}")]
    UnknownDeployment {
        /// Asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// The deployment cannot do this.
    #[error("deployment `{deployment}` cannot {what}: {why}")]
    NotPossible {
        /// Deployment.
        deployment: String,
        /// What was asked.
        what: String,
        /// What is missing.
        why: String,
    },
    /// No such rollout.
    #[error("there is no rollout `{0}`")]
    UnknownRollout(String),
    /// A person's order that the rollout cannot or must not carry out.
    #[error("rollout `{rollout}` does not {order}: {why}")]
    OrderRefused {
        /// Rollout.
        rollout: String,
        /// `pause`, `resume`, `promote`.
        order: String,
        /// What stands against it.
        why: String,
    },
    /// Someone else rolls out on this deployment.
    #[error("deployment `{deployment}` is locked by rollout `{holder}`")]
    Locked {
        /// Deployment.
        deployment: String,
        /// Who holds it.
        holder: String,
    },
    /// Took longer than its manifest allows.
    #[error("`{tool}` took longer than {timeout_s} s")]
    Timeout {
        /// Tool.
        tool: String,
        /// Allowed [s].
        timeout_s: u64,
    },
    /// Its run was cancelled, or the agent shuts down.
    #[error("the call was cancelled")]
    Cancelled,
    /// The work was stopped from outside or panicked.
    #[error("the work did not finish: {0}")]
    Interrupted(String),
    /// A server or the data plane failed.
    #[error(transparent)]
    Serving(#[from] serving::Error),
    /// The tuner refused.
    #[error(transparent)]
    Tuning(#[from] tuning::Error),
    /// The rollout machine refused.
    #[error(transparent)]
    Rollout(#[from] rollout::Error),
    /// The store failed, or a ledger entry is in doubt.
    #[error("{problem}")]
    Store {
        /// What the store said.
        problem: Problem,
        /// The call was begun before a crash and nobody knows how it ended.
        in_doubt: bool,
    },
}

impl Error {
    /// How callers should treat it.
    pub fn class(&self) -> Class {
        match self {
            Self::UnknownTool { .. }
            | Self::InvalidArguments { .. }
            | Self::UnknownDeployment { .. }
            | Self::UnknownRollout(_) => Class::Invalid,
            Self::Disabled(_) | Self::ApprovalMissing(_) => Class::Denied,
            Self::Timeout { .. } => Class::Timeout,
            Self::Cancelled | Self::Tuning(tuning::Error::Stopped) => Class::Cancelled,
            Self::Serving(serving::Error::Unreachable { .. }) => Class::Unavailable,
            Self::Store { in_doubt: true, .. } => Class::InDoubt,
            _ => Class::Fatal,
        }
    }
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        Self::Store { problem, in_doubt: false }
    }
}

impl Coded for Error {
    fn code(&self) -> &'static str {
        match self {
            Self::UnknownTool { .. } => "tools.unknown_tool",
            Self::Disabled(_) => "tools.disabled",
            Self::InvalidArguments { .. } => "tools.invalid_arguments",
            Self::ApprovalMissing(_) => "tools.approval_missing",
            Self::BadManifest { .. } => "tools.bad_manifest",
            Self::UnknownDeployment { .. } => "tools.unknown_deployment",
            Self::NotPossible { .. } => "tools.not_possible",
            Self::UnknownRollout(_) => "tools.unknown_rollout",
            Self::OrderRefused { .. } => "tools.order_refused",
            Self::Locked { .. } => "tools.locked",
            Self::Timeout { .. } => "tools.timeout",
            Self::Cancelled => "tools.cancelled",
            Self::Interrupted(_) => "tools.interrupted",
            Self::Serving(error) => error.code(),
            Self::Tuning(error) => error.code(),
            Self::Rollout(error) => error.code(),
            Self::Store { in_doubt: true, .. } => "tools.in_doubt",
            Self::Store { .. } => "tools.store",
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::ApprovalMissing(_) => {
                "add an approval node before it, or start the run with --yes".to_owned()
            }
            Self::Disabled(tool) => format!("set `enabled: true` in the manifest of `{tool}`"),
            Self::OrderRefused { .. } => {
                "look where it stands; it can be taken back at any time".to_owned()
            }
            Self::Locked { holder, .. } => {
                format!("wait for it, or `perf-agent tools call abort_rollout` on {holder}")
            }
            Self::UnknownDeployment { .. } => {
                "name it with --target, or declare it in the config file".to_owned()
            }
            Self::Serving(error) => error.hint(),
            Self::Tuning(error) => error.hint(),
            Self::Rollout(error) => error.hint(),
            Self::Store { problem, .. } => problem.hint.clone(),
            _ => String::new(),
        }
    }
}
