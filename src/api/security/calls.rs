//! Writes that come inside messages of another protocol: each gets a line of the audit log that says what was called.

use axum::http::StatusCode;
use axum::http::request::Parts;

use super::audit::{Open, Who};
use super::{Caller, Peer, Security};

/// A call that is being made. Whatever becomes of it, it is written down.
pub(in crate::api) struct Written(Open);

impl Written {
    /// Begins the line of a call: `POST /mcp optimize`.
    pub(in crate::api) fn begin(
        security: &Security,
        caller: &Caller,
        parts: &Parts,
        called: &str,
    ) -> Self {
        let who = Who {
            key: caller.key_id().map(str::to_owned),
            name: caller.key_name().map(str::to_owned),
            from: parts.extensions.get::<Peer>().map(|peer| peer.0.to_string()),
        };
        let path = parts.uri.path();
        let what = format!("{} {path} {called}", parts.method);
        let id = parts.headers.get("x-request-id").and_then(|id| id.to_str().ok());
        Self(Open::begin(&security.audit, security.clock.now(), who, what, path, id))
    }

    /// It ended as an answer of this status would.
    pub(in crate::api) fn ended(self, status: StatusCode) {
        self.0.answered(status);
    }
}
