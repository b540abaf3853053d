//! `merge`: objects, key by key; the last write of a key in task order stands.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{Folded, kind, owned};

pub(super) fn fold(current: Option<Arc<Value>>, writes: Vec<Value>) -> Result<Folded, String> {
    let mut merged = object(owned(current))?;
    for write in writes {
        merged.extend(object(Some(write))?);
    }
    Ok(Folded::whole(Value::Object(merged)))
}

fn object(value: Option<Value>) -> Result<Map<String, Value>, String> {
    match value {
        None => Ok(Map::new()),
        Some(Value::Object(map)) => Ok(map),
        Some(other) => Err(format!("expected an object, found {}", kind(&other))),
    }
}
