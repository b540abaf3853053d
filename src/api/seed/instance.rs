//! Which server an `instance_id` means, and a look at it: a declared deployment by its name or its address, else the
//! server at that address.

use std::time::Duration;

use reqwest::Url;
use serde_json::{Value, json};

use super::refusal::Refusal;
use super::scrape::{authority, page_url, sighted};
use super::snapshot::Seen;
use crate::api::deployments::all;
use crate::api::measurements::observed;
use crate::api::state::App;
use crate::domain::{Deployment, Diagnosis, EngineKind, Objective, Observation};

/// How far back a declared deployment is looked at [s].
const WINDOW_S: u32 = 60;
/// Pages read of a server that nobody declared.
const PAGES: usize = 4;
/// Longest wait for one of them.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A server as it was seen now.
pub(super) struct Look {
    /// What is known of it.
    pub(super) deployment: Deployment,
    /// Whether the config file declares it.
    pub(super) declared: bool,
    /// What was seen.
    pub(super) seen: Observation,
    /// The same in the seed's groups.
    pub(super) snapshot: Value,
}

/// The deployment that an instance id means; `None`: nobody declared it.
///
/// Errors: it is of another engine; the store or the fleet fails.
pub(super) async fn declared(
    app: &App,
    instance: &str,
    engine: EngineKind,
) -> Result<Option<Deployment>, Refusal> {
    let own = url_of(instance).ok().as_ref().and_then(authority);
    let mut endpoints = app.agent().endpoints();
    endpoints.extend(app.agent().added_endpoints());
    let named = endpoints.iter().find(|(_, endpoint)| {
        own.is_some() && Url::parse(endpoint).ok().as_ref().and_then(authority) == own
    });
    let name = named.map_or(instance, |(name, _)| name);
    let listed = all(app).await?;
    let Some(found) = listed.into_iter().find(|one| one["deployment"]["name"] == name) else {
        return Ok(None);
    };
    let found: Deployment = serde_json::from_value(found["deployment"].clone())
        .map_err(|error| Refusal::unread(error.to_string()))?;
    if found.engine != engine {
        return Err(Refusal::bad(format!("`{name}` is served by {}, not {engine}", found.engine)));
    }
    Ok(Some(found))
}

/// The page of an instance that is named by its address.
fn url_of(instance: &str) -> Result<Url, String> {
    match instance.contains("://") {
        true => page_url(instance),
        false => page_url(&format!("http://{instance}")),
    }
}

/// Looks at an instance.
///
/// Errors: 500, it cannot be read.
pub(super) async fn look(app: &App, instance: &str, engine: EngineKind) -> Result<Look, Refusal> {
    if let Some(deployment) = declared(app, instance, engine).await? {
        let seen = observed(app, &deployment.name, Some(WINDOW_S)).await;
        let seen = seen.map_err(|error| Refusal::unread(error.to_string()))?;
        let seen: Observation =
            serde_json::from_value(seen).map_err(|error| Refusal::unread(error.to_string()))?;
        let snapshot =
            Seen { instance, endpoint: None, at: seen.at, recent: &seen, total: None }.snapshot();
        return Ok(Look { deployment, declared: true, seen, snapshot });
    }
    let url = url_of(instance).map_err(|reason| {
        Refusal::unread(format!("`{instance}` is no deployment and no address: {reason}"))
    })?;
    let sighting = sighted(app, engine, instance, &url, PAGES, TIMEOUT).await;
    let sighting = sighting.map_err(Refusal::unread)?;
    let snapshot = Seen {
        instance,
        endpoint: Some(url.as_str()),
        at: sighting.recent.at,
        recent: &sighting.recent,
        total: Some(&sighting.total),
    }
    .snapshot();
    let deployment = app.agent().undeclared(instance, &sighting.recent);
    Ok(Look { deployment, declared: false, seen: sighting.recent, snapshot })
}

impl Look {
    /// The likeliest bottleneck: of a declared deployment by the tool, with its limits and its earlier window.
    pub(super) async fn diagnosis(
        &self,
        app: &App,
        objective: &Objective,
    ) -> Result<Diagnosis, Refusal> {
        if !self.declared {
            return Ok(app.agent().diagnose(&self.seen, objective, &self.deployment));
        }
        let args = json!({"objective": objective, "window_s": WINDOW_S});
        let diagnosis = app.agent().call_tool("explain_bottleneck", args, false).await?;
        serde_json::from_value(diagnosis).map_err(|error| Refusal::unread(error.to_string()))
    }
}
