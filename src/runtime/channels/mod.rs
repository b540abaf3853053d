//! Reducers: how one superstep's writes fold into a channel. One file each.

mod append;
mod merge;
mod messages;
mod ordering;
mod replace;
mod sum;
mod union;

use std::sync::Arc;

use serde_json::Value;

use crate::graph::Reducer;

/// A folded value, and how much of the list it starts with was there before.
#[derive(Debug, Clone, PartialEq)]
pub struct Folded {
    /// The new value.
    pub value: Value,
    /// Leading elements that are those of the old value; 0 where there is no list or it changed inside.
    pub kept: usize,
}

impl Folded {
    fn whole(value: Value) -> Self {
        Self { value, kept: 0 }
    }
}

/// Folds `writes`, which is not empty and in task order, into `current`.
///
/// Errors: a text that says which value does not fit the rule.
pub fn fold(
    reducer: Reducer,
    current: Option<Arc<Value>>,
    writes: Vec<Value>,
) -> Result<Folded, String> {
    match reducer {
        Reducer::Replace => replace::fold(writes),
        Reducer::Append => append::fold(current, writes),
        Reducer::Merge => merge::fold(current, writes),
        Reducer::Union => union::fold(current, writes),
        Reducer::Sum => sum::fold(current.as_deref(), &writes),
        Reducer::Min => ordering::fold(current.as_deref(), writes, std::cmp::Ordering::Less),
        Reducer::Max => ordering::fold(current.as_deref(), writes, std::cmp::Ordering::Greater),
        Reducer::Messages => messages::fold(current, writes),
    }
}

/// The value itself, copied only when someone else still looks at it.
fn owned(value: Option<Arc<Value>>) -> Option<Value> {
    value.map(Arc::unwrap_or_clone).filter(|value| !value.is_null())
}

/// The list in `value`; unset counts as empty.
fn list(value: Option<Value>) -> Result<Vec<Value>, String> {
    match value {
        None => Ok(Vec::new()),
        Some(Value::Array(items)) => Ok(items),
        Some(other) => Err(format!("expected a list, found {}", kind(&other))),
    }
}

/// What kind of JSON value it is, for messages.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
