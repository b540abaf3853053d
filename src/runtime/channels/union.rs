//! `union`: lists as sets; an element keeps the place where it first came.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::Value;

use super::{Folded, list, owned};

pub(super) fn fold(current: Option<Arc<Value>>, writes: Vec<Value>) -> Result<Folded, String> {
    let mut items = list(owned(current))?;
    let kept = items.len();
    let mut seen: HashSet<String> = items.iter().map(canonical).collect();
    for write in writes {
        for item in list(Some(write))? {
            if seen.insert(canonical(&item)) {
                items.push(item);
            }
        }
    }
    Ok(Folded { value: Value::Array(items), kept })
}

/// Text that is the same for equal values: the order of keys does not count.
fn canonical(value: &Value) -> String {
    let mut sorted = value.clone();
    sorted.sort_all_objects();
    sorted.to_string()
}
