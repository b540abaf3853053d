//! What `doctor` wants to know about a model before anything depends on it.

use std::sync::Arc;

use async_openai::config::Config;
use serde_json::Value;

use super::assembly::Reader;
use super::endpoint::Endpoint;
use super::failure::{Failure, classify};
use super::transport::{from_reqwest, read_body};
use crate::base::Clock;
use crate::llm::Error;

/// Most names of other models that a report repeats.
const MODELS_MAX: usize = 20;

/// What the server said about itself. `None` is unknown.
#[derive(Debug, Clone)]
pub struct Probe {
    /// Where we asked, without credentials.
    pub endpoint: String,
    /// The model that is wanted.
    pub model: String,
    /// Anything answered.
    pub reachable: bool,
    /// The server listed its models for this key; a server that asks for no key takes every one.
    pub key_accepted: Option<bool>,
    /// The wanted model is in the list.
    pub model_listed: Option<bool>,
    /// Some of the models in the list, at most 20.
    pub models: Vec<String>,
    /// Question sent → answer read [ms].
    pub latency_ms: Option<u64>,
    /// Why something above is not as wanted.
    pub error: Option<Error>,
}

/// What came of the question.
pub(super) struct Listing {
    latency_ms: u64,
    /// The names, or how the server refused.
    names: Result<Vec<String>, Failure>,
}

/// `GET /models`. Errors when nothing answered at all.
pub(super) async fn ask(
    http: &reqwest::Client,
    endpoint: &Endpoint,
    reader: &Reader<'_>,
    clock: &Arc<dyn Clock>,
) -> Result<Listing, Failure> {
    let started = clock.now();
    let request = http.get(endpoint.url("/models")).headers(endpoint.headers()).send();
    let response = reader.or_silence(request).await?.map_err(from_reqwest)?;
    let (status, headers) = (response.status(), response.headers().clone());
    let body = reader.or_silence(read_body(response)).await?.unwrap_or_default();
    let latency_ms = clock.now().since(started);
    let names = match status.is_success() {
        true => names(&body),
        false => Err(classify(status, &headers, &body, clock.now(), endpoint)),
    };
    Ok(Listing { latency_ms, names })
}

fn names(body: &[u8]) -> Result<Vec<String>, Failure> {
    let list: Option<Value> = serde_json::from_slice(body).ok();
    let models = list.as_ref().and_then(|list| list.get("data")?.as_array());
    let models = models.ok_or_else(|| Failure::transient("`/models` gave no list of models"))?;
    Ok(models.iter().filter_map(|model| model.get("id")?.as_str()).map(str::to_owned).collect())
}

/// Turns the outcome into a report.
pub(super) fn judge(outcome: Result<Listing, Failure>, endpoint: &Endpoint, model: &str) -> Probe {
    let mut probe = Probe {
        endpoint: endpoint.shown(),
        model: model.to_owned(),
        reachable: false,
        key_accepted: None,
        model_listed: None,
        models: Vec::new(),
        latency_ms: None,
        error: None,
    };
    let names = match outcome {
        Ok(listing) => {
            probe.reachable = true;
            probe.latency_ms = Some(listing.latency_ms);
            listing.names
        }
        Err(failure) => Err(failure),
    };
    match names {
        Ok(names) => {
            probe.key_accepted = Some(true);
            probe.model_listed = Some(names.iter().any(|name| name == model));
            probe.models = names.iter().take(MODELS_MAX).map(|name| endpoint.quote(name)).collect();
        }
        Err(failure) => {
            if matches!(failure, Failure::Unauthorized { .. }) {
                probe.key_accepted = Some(false);
            }
            probe.error = Some(failure.into_error(endpoint, model));
        }
    }
    probe
}
