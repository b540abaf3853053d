//! `/deployments`: what is there to be tuned, its config, what is seen of it; servers that somebody else runs can be added.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderName, StatusCode, header};
use serde_json::{Map, Value, json};

use super::Error;
use super::body::Body;
use super::measurements::{Window, observed};
use super::params::Params;
use super::security::web_url;
use super::state::App;
use crate::agent::ExternalDeployment;

/// Longest time to find out where an endpoint is.
const RESOLVE: Duration = Duration::from_secs(5);

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
    responses((status = 200, body = ref("#/components/schemas/ServingConfig")), (status = 404, body = super::error::ProblemBody)),
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
        (status = 200, body = ref("#/components/schemas/Observation")),
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

/// Adds a server that somebody else runs: it is watched from now on, after a restart too, and can be diagnosed and advised.
///
/// Nothing is ever started by a request: `launcher` is `external`, or left out. Endpoints are on this machine, or on hosts that
/// the operator listed in `PERF_AGENT_SCRAPE_ALLOW`; each look at one passes the guard anew.
#[utoipa::path(
    post, path = "/deployments", tag = "deployments",
    request_body = ref("#/components/schemas/ExternalDeployment"),
    responses(
        (status = 201, body = Object, headers(("Location" = String, description = "Where it is"))),
        (status = 403, description = "Its servers would be started by a request, or the key does not allow this", body = super::error::ProblemBody),
        (status = 409, description = "There is one of this name, or the fleet is simulated", body = super::error::ProblemBody),
        (status = "4XX", body = super::error::ProblemBody),
    ),
)]
pub(super) async fn create(
    State(app): State<App>,
    Body(body): Body<Value>,
) -> Result<(StatusCode, [(HeaderName, String); 1], Json<Value>), Error> {
    let deployment = asked(&app, body, None).await?;
    let name = deployment.name.clone();
    app.agent().add_deployment(deployment, &app.security.reach).await?;
    let location = [(header::LOCATION, format!("/deployments/{name}"))];
    Ok((StatusCode::CREATED, location, Json(named(&app, Some(&name)).await?)))
}

/// Replaces a deployment that was added. What was seen of it so far is forgotten.
#[utoipa::path(
    put, path = "/deployments/{name}", tag = "deployments",
    params(("name" = String, Path, description = "The deployment")),
    request_body = ref("#/components/schemas/ExternalDeployment"),
    responses(
        (status = 200, body = Object),
        (status = 403, description = "Its servers would be started by a request, or the key does not allow this", body = super::error::ProblemBody),
        (status = 404, description = "There is none of this name", body = super::error::ProblemBody),
        (status = 409, description = "The config file declares it, or a rollout goes on", body = super::error::ProblemBody),
        (status = "4XX", body = super::error::ProblemBody),
    ),
)]
pub(super) async fn replace(
    State(app): State<App>,
    Path(name): Path<String>,
    Body(body): Body<Value>,
) -> Result<Json<Value>, Error> {
    let deployment = asked(&app, body, Some(&name)).await?;
    app.agent().change_deployment(deployment, &app.security.reach).await?;
    named(&app, Some(&name)).await.map(Json)
}

/// Forgets a deployment that was added. Its server is left alone.
#[utoipa::path(
    delete, path = "/deployments/{name}", tag = "deployments",
    params(("name" = String, Path, description = "The deployment")),
    responses(
        (status = 204, description = "It is forgotten"),
        (status = 404, description = "There is none of this name", body = super::error::ProblemBody),
        (status = 409, description = "The config file declares it, or a rollout goes on", body = super::error::ProblemBody),
    ),
)]
pub(super) async fn delete(
    State(app): State<App>,
    Path(name): Path<String>,
) -> Result<StatusCode, Error> {
    app.agent().remove_deployment(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The deployment that a body describes, as the config file does; `name`: the one of the path.
async fn asked(app: &App, body: Value, name: Option<&str>) -> Result<ExternalDeployment, Error> {
    let unfit = |detail: String| Error::Body { status: StatusCode::UNPROCESSABLE_ENTITY, detail };
    let Value::Object(mut fields) = body else {
        return Err(unfit("expected an object with `name`, `engine`, `endpoints` …".to_owned()));
    };
    match fields.remove("launcher") {
        None => {}
        Some(launcher) if launcher == "external" => {}
        Some(other) => {
            let text = other.as_str().map_or_else(|| other.to_string(), str::to_owned);
            return Err(Error::LauncherRefused(text));
        }
    }
    agree_on_name(&mut fields, name)?;
    let deployment: ExternalDeployment =
        serde_json::from_value(Value::Object(fields)).map_err(|error| unfit(error.to_string()))?;
    app.agent().check_deployment(&deployment)?;
    for url in &deployment.endpoints {
        let refused = |detail| Error::Endpoint { url: url.clone(), detail };
        base_url(url).map_err(refused)?;
        app.security.reach.reach(url, RESOLVE).await.map_err(refused)?;
    }
    Ok(deployment)
}

/// The name may be left out of a body whose path has it.
fn agree_on_name(fields: &mut Map<String, Value>, name: Option<&str>) -> Result<(), Error> {
    let Some(name) = name else { return Ok(()) };
    let told = fields.entry("name").or_insert_with(|| json!(name));
    if told == name {
        return Ok(());
    }
    Err(Error::InvalidRequest(format!("the path names `{name}`, the body {told}")))
}

/// Refuses what is no base URL: `/metrics` is added to it.
fn base_url(url: &str) -> Result<(), String> {
    let url = web_url(url)?;
    if url.query().is_some() || url.fragment().is_some() || url.path().ends_with("/metrics") {
        return Err("give the base URL alone: `http://127.0.0.1:8000`".to_owned());
    }
    Ok(())
}
