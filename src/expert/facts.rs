//! Typed facts of a request.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::llm::ChatRequest;

/// The raw value; null when there is none.
pub(super) fn value(request: &ChatRequest, name: &str) -> Value {
    request.facts.get(name).cloned().unwrap_or(Value::Null)
}

/// The value as a type; `None` when absent, null or of another shape.
pub(super) fn typed<T: DeserializeOwned>(request: &ChatRequest, name: &str) -> Option<T> {
    serde_json::from_value(request.facts.get(name)?.clone()).ok()
}
