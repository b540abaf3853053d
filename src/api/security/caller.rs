//! Who sends a request.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use super::Scope;
use crate::api::Error;

/// The other end of a connection.
#[derive(Debug, Clone, Copy)]
pub(in crate::api) struct Peer(pub(in crate::api) SocketAddr);

/// Who sends a request: every handler finds it among the request's extensions.
#[derive(Debug, Clone)]
pub(in crate::api) struct Caller {
    /// Id and name of the key; `None`: a program of this machine, where no key is asked for.
    key: Option<(String, String)>,
    scopes: BTreeSet<Scope>,
}

impl Caller {
    /// A program of this machine, where no key is asked for: it may do everything.
    pub(super) fn local() -> Self {
        Self { key: None, scopes: BTreeSet::from([Scope::Admin]) }
    }

    /// The holder of a key.
    pub(super) fn with_key(id: String, name: String, scopes: BTreeSet<Scope>) -> Self {
        Self { key: Some((id, name)), scopes }
    }

    /// Whether it may do what needs `scope`.
    pub(in crate::api) fn may(&self, scope: Scope) -> bool {
        scope.is_in(&self.scopes)
    }

    /// Id of its key.
    pub(super) fn key_id(&self) -> Option<&str> {
        self.key.as_ref().map(|(id, _)| id.as_str())
    }

    /// Name of its key.
    pub(super) fn key_name(&self) -> Option<&str> {
        self.key.as_ref().map(|(_, name)| name.as_str())
    }

    /// Whom records of consent name; `None`: whoever operates this server.
    pub(in crate::api) fn consenter(&self) -> Option<String> {
        self.key.as_ref().map(|(id, name)| format!("{name} (key {id})"))
    }

    /// Errors: it may not consent to effects on users.
    pub(in crate::api) fn must_approve(&self) -> Result<(), Error> {
        self.may(Scope::Approve).then_some(()).ok_or(Error::Forbidden(Scope::Approve))
    }
}
