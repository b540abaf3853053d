//! What every search of LangGraph's protocol has in common.

use axum::http::HeaderName;
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::refusal::Refusal;

/// How many there are in all, of which the answer is a part.
pub(super) const PAGINATION_TOTAL: HeaderName = HeaderName::from_static("x-pagination-total");
/// Most that one answer holds.
const LIMIT_MAX: usize = 1_000;

/// Which way to sort.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::api) enum Order {
    /// Smallest first.
    Asc,
    /// Largest first.
    #[default]
    Desc,
}

/// A part of what was found.
///
/// Errors: a limit that is out of range.
pub(super) fn page<T>(all: &[T], offset: usize, limit: usize) -> Result<&[T], Refusal> {
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(Refusal::invalid(format!("`limit` is 1 to {LIMIT_MAX}")));
    }
    let begin = offset.min(all.len());
    Ok(&all[begin..all.len().min(begin + limit)])
}

/// Whether `held` has everything that is `wanted`, at whatever depth.
pub(super) fn contains(held: &Map<String, Value>, wanted: &Map<String, Value>) -> bool {
    wanted.iter().all(|(key, value)| match (held.get(key), value) {
        (Some(Value::Object(held)), Value::Object(wanted)) => contains(held, wanted),
        (Some(held), wanted) => held == wanted,
        (None, _) => false,
    })
}

/// Only the fields that are asked for.
pub(super) fn selected(mut shown: Value, select: Option<&[String]>) -> Value {
    if let (Some(select), Some(fields)) = (select, shown.as_object_mut()) {
        fields.retain(|name, _| select.contains(name));
    }
    shown
}
