//! How commands end.

use serde_json::json;

use crate::agent::Error;
use crate::base::Coded;

/// Exit codes, a promise to scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// It failed.
    Failed = 1,
    /// What was typed makes no sense.
    Usage = 2,
    /// A person must answer.
    Waiting = 3,
    /// Rolled back.
    RolledBack = 4,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Prints an error where scripts (JSON) or people (text) look for it.
pub(super) fn report(error: &Error, as_json: bool) -> Exit {
    let problem = error.problem();
    if as_json {
        println!("{}", json!({"status": "failed", "error": problem}));
    } else if let Error::Graph { rendered, .. } = error {
        eprintln!("{rendered}");
    } else {
        eprintln!("error: {problem}");
    }
    match error {
        Error::Config { .. }
        | Error::Argument { .. }
        | Error::UnknownGraph { .. }
        | Error::UnknownThread(_) => Exit::Usage,
        _ => Exit::Failed,
    }
}
