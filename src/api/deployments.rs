//! `/deployments`: what is there to be tuned, its config, what is seen of it.

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};

use super::Error;
use super::measurements::{Window, observed};
use super::params::Params;
use super::state::App;

/// Every deployment as the tools see it.
pub(super) async fn all(app: &App) -> Result<Vec<Value>, Error> {
    let listed = app.agent().call_tool("list_deployments", json!({}), false).await?;
    Ok(listed["deployments"].as_array().cloned().unwrap_or_default())
}

/// The deployment of that name; `None`: the only one there is.
pub(super) async fn named(app: &App, name: Option<&str>) -> Result<Value, Error> {
    let all = all(app).await?;
    let names = || {
        let names = all.iter().filter_map(|one| one["deployment"]["name"].as_str());
        names.collect::<Vec<_>>().join(", ")
    };
    let found = match name {
        Some(name) => all.iter().find(|one| one["deployment"]["name"] == *name),
        None if all.len() > 1 => {
            return Err(Error::InvalidRequest(format!("name a `deployment`: {}", names())));
        }
        None => all.first(),
    };
    found.cloned().ok_or_else(|| Error::NoDeployment {
        name: name.unwrap_or_default().to_owned(),
        known: names(),
    })
}

/// The name of that deployment, or of the only one.
pub(super) async fn name_of(app: &App, name: Option<&str>) -> Result<String, Error> {
    let found = named(app, name).await?;
    Ok(found["deployment"]["name"].as_str().unwrap_or_default().to_owned())
}

/// Every deployment: engine, model, hardware, running config, limits, and what can be done to it.
#[utoipa::path(get, path = "/deployments", tag = "deployments", responses((status = 200, body = Vec<Object>)))]
pub(super) async fn list(State(app): State<App>) -> Result<Json<Vec<Value>>, Error> {
    all(&app).await.map(Json)
}

/// A deployment.
#[utoipa::path(
    get, path = "/deployments/{name}", tag = "deployments",
    params(("name" = String, Path, description = "The deployment")),
    responses((status = 200, body = Object), (status = 404, body = super::error::ProblemBody)),
)]
pub(super) async fn show(
    State(app): State<App>,
    Path(name): Path<String>,
) -> Result<Json<Value>, Error> {
    named(&app, Some(&name)).await.map(Json)
}

/// The config that a deployment runs.
#[utoipa::path(
    get, path = "/deployments/{name}/config", tag = "deployments",
    params(("name" = String, Path, description = "The deployment")),
    responses((status = 200, body = Object), (status = 404, body = super::error::ProblemBody)),
)]
pub(super) async fn config(
    State(app): State<App>,
    Path(name): Path<String>,
) -> Result<Json<Value>, Error> {
    Ok(Json(named(&app, Some(&name)).await?["deployment"]["config"].clone()))
}

/// What is seen of a deployment now. `null` is unknown, not zero.
#[utoipa::path(
    get, path = "/deployments/{name}/observation", tag = "deployments",
    params(
        ("name" = String, Path, description = "The deployment"),
        ("window_s" = Option<u32>, Query, description = "How far back to look [s]; left out: 60"),
    ),
    responses(
        (status = 200, body = Object),
        (status = "4XX", body = super::error::ProblemBody),
        (status = 502, description = "The engine does not answer", body = super::error::ProblemBody),
    ),
)]
pub(super) async fn observation(
    State(app): State<App>,
    Path(name): Path<String>,
    Params(window): Params<Window>,
) -> Result<Json<Value>, Error> {
    let name = name_of(&app, Some(&name)).await?;
    observed(&app, &name, window.window_s).await.map(Json)
}
