//! The gate before every route: who is it, may it, how often, and is it written down.

use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody, to_bytes};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::audit::{Open, Who};
use super::routes::{self, Need};
use super::{Caller, Peer, Scope, consent, idempotency};
use crate::api::Error;
use crate::api::router::{BODY_BYTES_MAX, CHECKPOINT_BYTES_MAX};
use crate::api::state::App;

/// Lets a request through, or says why not.
pub(in crate::api) async fn admit(
    State(app): State<App>,
    mut request: Request,
    next: Next,
) -> Response {
    let security = &app.security;
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map(MatchedPath::as_str);
    let need = routes::need(request.method(), route);
    let scope = match need {
        Need::Nothing if security.is_keyed() => return next.run(request).await,
        // Without keys pages of other sites are kept out of these too.
        Need::Nothing => Scope::Read,
        Need::Scope(scope) => scope,
    };
    let path = request.uri().path();
    let seed = path.starts_with("/api/v1/").then(|| path.to_owned());
    let refused = |error: Error| match &seed {
        // Clients of the seed system read its own shape.
        Some(path) => crate::api::seed::dressed(path, error.into_response()),
        None => error.into_response(),
    };
    let caller = match security.caller(request.headers()) {
        Ok(caller) => caller,
        Err(error) => {
            let is_stranger = !matches!(error, Error::RateLimited { .. });
            let response = refused(error);
            if is_stranger && security.may_note_stranger() {
                begin(&app, None, route, &request).answered(response.status());
            }
            return response;
        }
    };
    let entry = is_write(&request, scope).then(|| begin(&app, Some(&caller), route, &request));
    let response = match permitted(&app, &caller, scope, route, request).await {
        Ok(allowed) => {
            request = allowed;
            request.extensions_mut().insert(caller.clone());
            if routes::starts_something(request.method(), route) {
                let response = idempotency::once(&app, &caller, request, next).await;
                match &seed {
                    Some(path) => crate::api::seed::dressed(path, response),
                    None => response,
                }
            } else {
                next.run(request).await
            }
        }
        Err(error) => refused(error),
    };
    if let Some(entry) = entry {
        entry.answered(response.status());
    }
    response
}

fn is_write(request: &Request, scope: Scope) -> bool {
    !request.method().is_safe() && scope != Scope::Read
}

/// Begins to write a request down; `caller`: `None` where it is not known who sends it.
fn begin(app: &App, caller: Option<&Caller>, route: Option<&str>, request: &Request) -> Open {
    let path = request.uri().path();
    let who = Who {
        key: caller.and_then(Caller::key_id).map(str::to_owned),
        name: caller.and_then(Caller::key_name).map(str::to_owned),
        from: request.extensions().get::<Peer>().map(|peer| peer.0.to_string()),
    };
    let what = format!("{} {}", request.method(), route.unwrap_or(path));
    let id = request.headers().get("x-request-id").and_then(|id| id.to_str().ok());
    let security = &app.security;
    Open::begin(&security.audit, security.clock.now(), who, what, path, id)
}

/// The request with its whole body, if its caller may send it.
async fn permitted(
    app: &App,
    caller: &Caller,
    scope: Scope,
    route: Option<&str>,
    request: Request,
) -> Result<Request, Error> {
    if !caller.may(scope) {
        return Err(Error::Forbidden(scope));
    }
    let bytes_max = bounded(route, &request)?;
    let (parts, body) = request.into_parts();
    // All of it, before anything waits for it that has no limit of its own.
    let body = within(app.security.limits.body, body, bytes_max).await?;
    let can_consent = scope != Scope::Read && !parts.method.is_safe();
    let looked_at = can_consent && !caller.may(Scope::Approve) && !routes::is_opaque(route);
    if looked_at && !body.is_empty() {
        // What cannot be read here must not be read otherwise later.
        let unreadable = |error: serde_json::Error| Error::Body {
            status: StatusCode::BAD_REQUEST,
            detail: error.to_string(),
        };
        let value = serde_json::from_slice(&body).map_err(unreadable)?;
        if consent::consents(&value) {
            return Err(Error::Forbidden(Scope::Approve));
        }
    }
    Ok(Request::from_parts(parts, Body::from(body)))
}

/// Refuses a body that says itself that it is too long, before any of it is read. Returns how long it may be [bytes].
fn bounded(route: Option<&str>, request: &Request) -> Result<usize, Error> {
    let bytes_max = if routes::is_opaque(route) { CHECKPOINT_BYTES_MAX } else { BODY_BYTES_MAX };
    let told = request.headers().get(header::CONTENT_LENGTH);
    let bytes: Option<u64> = told.and_then(|length| length.to_str().ok()?.parse().ok());
    match bytes {
        Some(bytes) if bytes > bytes_max as u64 => Err(too_long(bytes_max)),
        _ => Ok(bytes_max),
    }
}

/// A whole body.
///
/// Errors: it does not come in time, is too long, or cut off.
async fn within(limit: Duration, body: Body, bytes_max: usize) -> Result<Bytes, Error> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    match tokio::time::timeout(limit, to_bytes(body, bytes_max)).await {
        Ok(read) => read.map_err(|_| too_long(bytes_max)),
        Err(_) => Err(Error::Body {
            status: StatusCode::REQUEST_TIMEOUT,
            detail: format!("the whole body did not come within {limit:?}"),
        }),
    }
}

fn too_long(bytes_max: usize) -> Error {
    Error::Body {
        status: StatusCode::PAYLOAD_TOO_LARGE,
        detail: format!("a body of more than {bytes_max} bytes, or one that was cut off"),
    }
}

/// A whole body.
///
/// Errors: it is too long, or cut off.
pub(super) async fn read(body: Body) -> Result<Bytes, Error> {
    to_bytes(body, BODY_BYTES_MAX).await.map_err(|_| too_long(BODY_BYTES_MAX))
}
