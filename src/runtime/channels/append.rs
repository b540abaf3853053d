//! `append`: lists, one after another, in task order.

use std::sync::Arc;

use serde_json::Value;

use super::{Folded, list, owned};

pub(super) fn fold(current: Option<Arc<Value>>, writes: Vec<Value>) -> Result<Folded, String> {
    let mut items = list(owned(current))?;
    let kept = items.len();
    for write in writes {
        items.extend(list(Some(write))?);
    }
    Ok(Folded { value: Value::Array(items), kept })
}
