//! `replace`: the newest write; two in one superstep are an error, not a race.

use serde_json::Value;

use super::Folded;

pub(super) fn fold(mut writes: Vec<Value>) -> Result<Folded, String> {
    match (writes.len(), writes.pop()) {
        (1, Some(value)) => Ok(Folded::whole(value)),
        (n, _) => Err(format!("{n} writes in one superstep, and `replace` takes one")),
    }
}
