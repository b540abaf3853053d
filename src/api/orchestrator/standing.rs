//! How this agent stands with its orchestrator, for whoever asks after its health.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::agent::Check;

/// How it stands.
#[derive(Debug, Clone, Default, PartialEq)]
enum State {
    /// There is no orchestrator.
    #[default]
    NotConfigured,
    /// Not registered, or not heard; why, once that is known.
    Connecting(Option<String>),
    /// Registered, and heard.
    Registered(String),
    /// The orchestrator will never take it.
    Refused(String),
    /// It took leave.
    Left,
}

/// How this agent stands, shared by the keeper that learns it and the pages that show it.
#[derive(Debug, Default)]
pub(in crate::api) struct Standing {
    now: Mutex<(State, Option<f64>)>,
}

impl Standing {
    /// There is an orchestrator; nothing was heard of it, or this is why not.
    pub(super) fn connecting(&self, reason: Option<String>) {
        self.now().0 = State::Connecting(reason);
    }

    /// It was heard, and answered within `latency_ms`.
    pub(super) fn registered(&self, id: &str, latency_ms: f64) {
        *self.now() = (State::Registered(id.to_owned()), Some(latency_ms));
    }

    /// It was turned away.
    pub(super) fn refused(&self, reason: String) {
        self.now().0 = State::Refused(reason);
    }

    /// It took leave.
    pub(super) fn left(&self) {
        self.now().0 = State::Left;
    }

    /// The same in a word, and how long the last answer took [ms].
    pub(in crate::api) fn word(&self) -> (&'static str, Option<f64>) {
        let now = self.now();
        let word = match &now.0 {
            State::NotConfigured => "not_configured",
            State::Connecting(_) => "connecting",
            State::Registered(_) => "healthy",
            State::Refused(_) => "refused",
            State::Left => "left",
        };
        (word, now.1)
    }

    /// The same as a check; `None`: there is no orchestrator.
    pub(in crate::api) fn check(&self) -> Option<Check> {
        let now = self.now();
        let latency_ms = now.1.map(|ms| ms.round() as u64);
        let (ok, detail) = match &now.0 {
            State::NotConfigured => return None,
            State::Connecting(None) => (false, "not registered yet".to_owned()),
            State::Connecting(Some(reason)) => (false, format!("tried again and again: {reason}")),
            State::Registered(id) => (true, format!("registered as {id}")),
            State::Refused(reason) => (false, format!("given up: {reason}")),
            State::Left => (false, "left".to_owned()),
        };
        Some(Check { name: "orchestrator".to_owned(), ok: Some(ok), detail, latency_ms })
    }

    fn now(&self) -> MutexGuard<'_, (State, Option<f64>)> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
