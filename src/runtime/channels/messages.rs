//! `messages`: a message with the id of one that is there replaces it in its place; any other is appended.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;

use super::{Folded, list, owned};

pub(super) fn fold(current: Option<Arc<Value>>, writes: Vec<Value>) -> Result<Folded, String> {
    let mut messages = list(owned(current))?;
    let mut kept = messages.len();
    let mut places: HashMap<String, usize> = messages
        .iter()
        .enumerate()
        .filter_map(|(place, message)| Some((id(message)?.to_owned(), place)))
        .collect();
    for write in writes {
        for message in list(Some(write))? {
            let Some(key) = id(&message).map(str::to_owned) else {
                messages.push(message);
                continue;
            };
            if let Some(&place) = places.get(&key) {
                kept = kept.min(place);
                messages[place] = message;
            } else {
                places.insert(key, messages.len());
                messages.push(message);
            }
        }
    }
    Ok(Folded { value: Value::Array(messages), kept })
}

fn id(message: &Value) -> Option<&str> {
    message.get("id").and_then(Value::as_str)
}
