//! Why no load was put on a server. What happens to single requests is in the report, not here.

use crate::base::Coded;

/// Why a load was not begun.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The target is not on this machine.
    #[error("`{0}` is not on this machine")]
    Remote(String),
    /// The target is not a plain HTTP address.
    #[error("`{url}` cannot be loaded: {detail}")]
    BadUrl {
        /// As given.
        url: String,
        /// What is wrong with it.
        detail: String,
    },
    /// The load contradicts itself.
    #[error("{field} is {value}, expected {expected}")]
    BadLoad {
        /// Which part.
        field: &'static str,
        /// As given.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
}

impl Coded for Error {
    fn code(&self) -> &'static str {
        match self {
            Self::Remote(_) => "loadgen.remote",
            Self::BadUrl { .. } => "loadgen.bad_url",
            Self::BadLoad { .. } => "loadgen.bad_load",
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Remote(_) => {
                "load on other machines can hurt their users: allow it with `allow_remote` if they are yours"
            }
            Self::BadUrl { .. } => "give an address like http://127.0.0.1:8100",
            Self::BadLoad { .. } => "",
        }
        .to_owned()
    }
}
