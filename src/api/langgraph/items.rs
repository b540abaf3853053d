//! `/store`: values by namespace and key, kept beside the threads.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::page;
use super::protocol::stamp;
use super::refusal::{Detail, Input, Params, Refusal};
use super::register::{now, read, read_all, write};
use crate::api::state::App;
use crate::base::Millis;

/// Collection of items.
const ITEMS: &str = "langgraph.items";

/// What is kept of an item.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct ItemRecord {
    namespace: Vec<String>,
    key: String,
    value: Map<String, Value>,
    created: Millis,
    updated: Millis,
}

impl ItemRecord {
    fn shown(&self) -> Item {
        Item {
            namespace: self.namespace.clone(),
            key: self.key.clone(),
            value: self.value.clone(),
            created_at: stamp(self.created),
            updated_at: stamp(self.updated),
        }
    }
}

/// A value by namespace and key.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct Item {
    namespace: Vec<String>,
    key: String,
    value: Map<String, Value>,
    created_at: String,
    updated_at: String,
}

/// Where an item lies; no two places look the same.
fn place(namespace: &[String], key: &str) -> String {
    json!([namespace, key]).to_string()
}

fn check(namespace: &[String]) -> Result<(), Refusal> {
    if namespace.is_empty() {
        return Err(Refusal::invalid("Namespace cannot be empty"));
    }
    match namespace.iter().find(|label| label.is_empty() || label.contains('.')) {
        Some(label) => Err(Refusal::invalid(format!(
            "Namespace labels cannot be empty or contain periods ('.'). Got: '{label}'"
        ))),
        None => Ok(()),
    }
}

/// An item to keep.
#[derive(Debug, Deserialize, ToSchema)]
pub(in crate::api) struct ItemPut {
    namespace: Vec<String>,
    key: String,
    value: Map<String, Value>,
    /// Refused: items are kept until they are deleted.
    #[serde(default)]
    ttl: Option<f64>,
    /// Fields to find it by meaning with: `false` or left out; anything else is refused, there is no index of meanings.
    #[serde(default)]
    index: Option<Value>,
}

/// Keeps an item, in place of one that is there.
#[utoipa::path(
    put, path = "/store/items", tag = "store", request_body = ItemPut,
    responses((status = 204), (status = 422, body = Detail)),
)]
pub(in crate::api) async fn put(
    State(app): State<App>,
    Input(item): Input<ItemPut>,
) -> Result<StatusCode, Refusal> {
    check(&item.namespace)?;
    if item.ttl.is_some() {
        return Err(Refusal::invalid("`ttl`: items are kept until they are deleted"));
    }
    if item.index.is_some_and(|index| !matches!(index, Value::Null | Value::Bool(false))) {
        return Err(Refusal::invalid("`index`: there is no index of meanings"));
    }
    let place = place(&item.namespace, &item.key);
    let before: Option<ItemRecord> = read(app.agent(), ITEMS, &place).await?;
    let at = now();
    let record = ItemRecord {
        namespace: item.namespace,
        key: item.key,
        value: item.value,
        created: before.map_or(at, |before| before.created),
        updated: at,
    };
    write(app.agent(), ITEMS, &place, &record).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Which item.
#[derive(Debug, Deserialize)]
pub(in crate::api) struct ItemParams {
    key: String,
    /// Labels, separated by periods.
    #[serde(default)]
    namespace: Option<String>,
    #[serde(default)]
    refresh_ttl: Option<bool>,
}

/// Refuses to let an item live longer: it lives until it is deleted.
fn refuse_refresh(refresh_ttl: Option<bool>) -> Result<(), Refusal> {
    match refresh_ttl {
        Some(true) => Err(Refusal::invalid("`refresh_ttl`: items are kept until they are deleted")),
        _ => Ok(()),
    }
}

/// An item; `null`: there is none.
#[utoipa::path(
    get, path = "/store/items", tag = "store",
    params(
        ("key" = String, Query, description = "Its key"),
        ("namespace" = Option<String>, Query, description = "Labels, separated by periods"),
        ("refresh_ttl" = Option<bool>, Query, description = "Refused where true: items are kept until they are deleted"),
    ),
    responses((status = 200, body = Option<Item>), (status = 422, body = Detail)),
)]
pub(in crate::api) async fn get(
    State(app): State<App>,
    Params(params): Params<ItemParams>,
) -> Result<Json<Option<Item>>, Refusal> {
    refuse_refresh(params.refresh_ttl)?;
    let namespace: Vec<String> =
        params.namespace.unwrap_or_default().split('.').map(str::to_owned).collect();
    check(&namespace)?;
    let record: Option<ItemRecord> =
        read(app.agent(), ITEMS, &place(&namespace, &params.key)).await?;
    Ok(Json(record.map(|record| record.shown())))
}

/// An item to forget.
#[derive(Debug, Deserialize, ToSchema)]
pub(in crate::api) struct ItemDelete {
    namespace: Vec<String>,
    key: String,
}

/// Forgets an item.
#[utoipa::path(
    delete, path = "/store/items", tag = "store", request_body = ItemDelete,
    responses((status = 204), (status = 422, body = Detail)),
)]
pub(in crate::api) async fn delete(
    State(app): State<App>,
    Input(item): Input<ItemDelete>,
) -> Result<StatusCode, Refusal> {
    app.agent().documents().remove(ITEMS, &place(&item.namespace, &item.key)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Which items to find.
#[derive(Debug, Deserialize, ToSchema)]
pub(in crate::api) struct ItemSearch {
    /// Under these labels.
    #[serde(default)]
    namespace_prefix: Option<Vec<String>>,
    /// Field → value, or → `{"$eq" | "$ne" | "$gt" | "$gte" | "$lt" | "$lte": value}`.
    #[serde(default)]
    filter: Option<Map<String, Value>>,
    /// At most so many, 1 to 1000.
    #[serde(default)]
    limit: Option<usize>,
    /// Leave out so many.
    #[serde(default)]
    offset: usize,
    /// Refused: there is no index of meanings.
    #[serde(default)]
    query: Option<String>,
    /// Refused where true: items are kept until they are deleted.
    #[serde(default)]
    refresh_ttl: Option<bool>,
}

/// Items that were found.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct Items {
    items: Vec<Value>,
}

/// Finds items, the one changed last first.
#[utoipa::path(
    post, path = "/store/items/search", tag = "store", request_body = ItemSearch,
    responses((status = 200, body = Items), (status = 422, body = Detail)),
)]
pub(in crate::api) async fn search(
    State(app): State<App>,
    Input(search): Input<ItemSearch>,
) -> Result<Json<Items>, Refusal> {
    refuse_refresh(search.refresh_ttl)?;
    if search.query.is_some_and(|query| !query.is_empty()) {
        return Err(Refusal::invalid(
            "`query` searches by meaning, and there is no index of meanings",
        ));
    }
    let prefix = search.namespace_prefix.unwrap_or_default();
    let filter = search.filter.unwrap_or_default();
    let mut records: Vec<ItemRecord> = read_all(app.agent(), ITEMS).await?;
    records.retain(|record| {
        record.namespace.starts_with(&prefix)
            && filter.iter().all(|(field, wanted)| fits(record.value.get(field), wanted))
    });
    let page = page(&records, search.offset, search.limit.unwrap_or(10))?;
    let items = page.iter().map(|record| {
        let mut item = json!(record.shown());
        item["score"] = Value::Null;
        item
    });
    Ok(Json(Items { items: items.collect() }))
}

fn fits(held: Option<&Value>, wanted: &Value) -> bool {
    let operators = wanted.as_object().filter(|rules| rules.keys().any(|key| key.starts_with('$')));
    let Some(rules) = operators else { return held == Some(wanted) };
    rules.iter().all(|(operator, value)| {
        let order = held.and_then(|held| match (held, value) {
            (Value::Number(a), Value::Number(b)) => a.as_f64()?.partial_cmp(&b.as_f64()?),
            (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
            _ => None,
        });
        match operator.as_str() {
            "$eq" => held == Some(value),
            "$ne" => held != Some(value),
            "$gt" => order.is_some_and(std::cmp::Ordering::is_gt),
            "$gte" => order.is_some_and(std::cmp::Ordering::is_ge),
            "$lt" => order.is_some_and(std::cmp::Ordering::is_lt),
            "$lte" => order.is_some_and(std::cmp::Ordering::is_le),
            _ => false,
        }
    })
}

/// Which namespaces to list.
#[derive(Debug, Deserialize, ToSchema)]
pub(in crate::api) struct NamespaceSearch {
    /// Begin with these labels; `*` is any.
    #[serde(default)]
    prefix: Option<Vec<String>>,
    /// End with these labels; `*` is any.
    #[serde(default)]
    suffix: Option<Vec<String>>,
    /// Cut after so many labels.
    #[serde(default)]
    max_depth: Option<usize>,
    /// At most so many, 1 to 1000.
    #[serde(default)]
    limit: Option<usize>,
    /// Leave out so many.
    #[serde(default)]
    offset: usize,
}

/// Namespaces that were found.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct Namespaces {
    namespaces: Vec<Vec<String>>,
}

/// Namespaces that hold items, in order.
#[utoipa::path(
    post, path = "/store/namespaces", tag = "store", request_body = NamespaceSearch,
    responses((status = 200, body = Namespaces), (status = 422, body = Detail)),
)]
pub(in crate::api) async fn namespaces(
    State(app): State<App>,
    Input(search): Input<NamespaceSearch>,
) -> Result<Json<Namespaces>, Refusal> {
    let records: Vec<ItemRecord> = read_all(app.agent(), ITEMS).await?;
    let matches = |labels: &[String], pattern: &[String]| {
        labels.len() == pattern.len()
            && labels.iter().zip(pattern).all(|(label, wanted)| wanted == "*" || wanted == label)
    };
    let (prefix, suffix) = (search.prefix.unwrap_or_default(), search.suffix.unwrap_or_default());
    let found: BTreeSet<Vec<String>> = records
        .into_iter()
        .map(|record| record.namespace)
        .filter(|namespace| {
            let n = namespace.len();
            n >= prefix.len().max(suffix.len())
                && matches(&namespace[..prefix.len()], &prefix)
                && matches(&namespace[n - suffix.len()..], &suffix)
        })
        .map(|mut namespace| {
            namespace.truncate(search.max_depth.unwrap_or(usize::MAX));
            namespace
        })
        .collect();
    let found: Vec<Vec<String>> = found.into_iter().collect();
    let namespaces = page(&found, search.offset, search.limit.unwrap_or(100))?.to_vec();
    Ok(Json(Namespaces { namespaces }))
}
