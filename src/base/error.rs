//! What an error must carry to be useful to a stranger: a stable code, what was expected, what to do.

use serde::{Deserialize, Serialize};

/// An error with a stable code. Each room's enum implements it; `docs/errors.md` has a heading per code.
pub trait Coded: std::error::Error {
    /// `room.reason`, never changed once released.
    fn code(&self) -> &'static str;

    /// What the reader can do about it, one sentence; empty when there is nothing.
    fn hint(&self) -> String {
        String::new()
    }

    /// The same as plain data, for a store, a page or a model.
    fn problem(&self) -> Problem {
        Problem { code: self.code().to_owned(), message: self.to_string(), hint: self.hint() }
    }
}

/// An error as data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Problem {
    /// `room.reason`.
    pub code: String,
    /// What went wrong and what was expected.
    pub message: String,
    /// What to do; may be empty.
    pub hint: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "[{}] {}", self.code, self.message)?;
        if self.hint.is_empty() { Ok(()) } else { write!(f, "\n  hint: {}", self.hint) }
    }
}

impl std::error::Error for Problem {}
