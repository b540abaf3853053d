//! Errors of tools, models and templates as the runtime's node errors.

use crate::base::{Coded, Problem};
use crate::runtime::{ErrorClass, NodeError};
use crate::{llm, tools};

/// A tool's error, its class kept.
pub(super) fn from_tool(error: &tools::Error) -> NodeError {
    let class = match error.class() {
        tools::Class::Timeout => ErrorClass::Timeout,
        tools::Class::Unavailable => ErrorClass::Unavailable,
        tools::Class::Invalid => ErrorClass::Invalid,
        tools::Class::Denied => ErrorClass::Denied,
        tools::Class::InDoubt => ErrorClass::InDoubt,
        tools::Class::Cancelled => ErrorClass::Cancelled,
        tools::Class::Fatal => ErrorClass::Fatal,
    };
    NodeError::new(class, error.problem())
}

/// A model's error.
pub(super) fn from_model(error: &llm::Error) -> NodeError {
    let (class, retry_after_ms) = match error {
        llm::Error::RateLimited { retry_after_ms, .. } => {
            (ErrorClass::RateLimited, *retry_after_ms)
        }
        llm::Error::Unavailable { .. } => (ErrorClass::Unavailable, None),
        llm::Error::Timeout { .. } => (ErrorClass::Timeout, None),
        llm::Error::Unauthorized { .. } => (ErrorClass::Denied, None),
        _ => (ErrorClass::Fatal, None),
    };
    NodeError { retry_after_ms, ..NodeError::new(class, error.problem()) }
}

/// A template or an input that cannot be used.
pub(super) fn invalid(code: &str, message: String, hint: &str) -> NodeError {
    let problem = Problem { code: code.to_owned(), message, hint: hint.to_owned() };
    NodeError::new(ErrorClass::Invalid, problem)
}

/// Nobody waits for the node any more.
pub(super) fn cancelled(node: &str) -> NodeError {
    let problem = Problem {
        code: "nodes.cancelled".to_owned(),
        message: format!("`{node}` was told to stop"),
        hint: "where the run was not cancelled, it goes on from here".to_owned(),
    };
    NodeError::new(ErrorClass::Cancelled, problem)
}

/// A template that did not render.
pub(super) fn template(what: &str, message: String) -> NodeError {
    let text = format!("{what}: {message}");
    invalid("nodes.template", text, "correct the expression in the graph file or the prompt")
}
