//! `/keys` and `/audit`: who may call, and what was written.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Error;
use super::body::Body;
use super::params::Params;
use super::security::{AuditEntry, Key, Scope};
use super::state::App;

/// Entries in one answer at most.
const ENTRIES_MAX: usize = 1_000;

/// Every key, revoked ones too, oldest first. Nobody can see a secret again.
#[utoipa::path(get, path = "/keys", tag = "security", responses((status = 200, body = Vec<Key>)))]
pub(super) async fn list(State(app): State<App>) -> Json<Vec<Key>> {
    Json(app.security.keys.list())
}

/// A key to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyRequest {
    /// Who or what it is for.
    name: String,
    /// What it allows.
    #[schema(value_type = Vec<Scope>)]
    scopes: BTreeSet<Scope>,
}

/// A key that was just made.
#[derive(Serialize, ToSchema)]
pub(super) struct KeyMade {
    /// The key.
    key: Key,
    /// What its holder sends as `Authorization: Bearer …`: shown now and never again.
    secret: String,
}

/// Makes a key. A server that was started without keys asks for none until it is started again.
#[utoipa::path(
    post, path = "/keys", tag = "security", request_body = KeyRequest,
    responses((status = 201, body = KeyMade), (status = "4XX", body = super::error::ProblemBody)),
)]
pub(super) async fn create(
    State(app): State<App>,
    Body(request): Body<KeyRequest>,
) -> Result<(StatusCode, Json<KeyMade>), Error> {
    let now = app.security.clock.now();
    let random = rustls::crypto::ring::default_provider().secure_random;
    let made = app.security.keys.create(&request.name, request.scopes, now, random).await?;
    let secret = made.secret.expose_secret().to_owned();
    Ok((StatusCode::CREATED, Json(KeyMade { key: made.key, secret })))
}

/// Revokes a key: it counts no more from now on.
#[utoipa::path(
    delete, path = "/keys/{id}", tag = "security",
    params(("id" = String, Path, description = "The key")),
    responses((status = 200, body = Key), (status = 404, body = super::error::ProblemBody)),
)]
pub(super) async fn revoke(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Json<Key>, Error> {
    Ok(Json(app.security.keys.revoke(&id, app.security.clock.now()).await?))
}

/// How much to show.
#[derive(Debug, Deserialize)]
pub(super) struct AuditParams {
    #[serde(default = "limit")]
    limit: usize,
}

fn limit() -> usize {
    100
}

/// What was written, newest first: who, what, when, how it ended.
#[utoipa::path(
    get, path = "/audit", tag = "security",
    params(("limit" = Option<usize>, Query, description = "Entries at most, 1 to 1000; left out: 100")),
    responses((status = 200, body = Vec<AuditEntry>), (status = "4XX", body = super::error::ProblemBody)),
)]
pub(super) async fn audit(
    State(app): State<App>,
    Params(params): Params<AuditParams>,
) -> Result<Json<Vec<AuditEntry>>, Error> {
    if !(1..=ENTRIES_MAX).contains(&params.limit) {
        let detail = format!("`limit` is {}; expected 1 to {ENTRIES_MAX}", params.limit);
        return Err(Error::InvalidRequest(detail));
    }
    app.security.audit.newest(params.limit).map(Json)
}
