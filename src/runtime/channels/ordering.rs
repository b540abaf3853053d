//! `min` and `max`: the smallest or largest of numbers, or of texts.

use std::cmp::Ordering;

use serde_json::Value;

use super::{Folded, kind};

pub(super) fn fold(
    current: Option<&Value>,
    writes: Vec<Value>,
    wanted: Ordering,
) -> Result<Folded, String> {
    let mut best = current.filter(|value| !value.is_null()).cloned();
    for write in writes {
        best = match best {
            None => {
                compare(&write, &write)?;
                Some(write)
            }
            Some(held) if compare(&write, &held)? == wanted => Some(write),
            held => held,
        };
    }
    Ok(Folded::whole(best.unwrap_or(Value::Null)))
}

fn compare(a: &Value, b: &Value) -> Result<Ordering, String> {
    match (a, b) {
        (Value::String(a), Value::String(b)) => Ok(a.cmp(b)),
        (Value::Number(a), Value::Number(b)) => match (a.as_i128(), b.as_i128()) {
            (Some(a), Some(b)) => Ok(a.cmp(&b)),
            _ => a
                .as_f64()
                .zip(b.as_f64())
                .and_then(|(a, b)| a.partial_cmp(&b))
                .ok_or_else(|| format!("{a} and {b} cannot be compared")),
        },
        _ => Err(format!("cannot compare {} with {}", kind(a), kind(b))),
    }
}
