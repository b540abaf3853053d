//! The gate before every route: who is it, may it, how often, and is it written down.

use axum::body::{Body, to_bytes};
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
        Err(error) => return refused(error),
    };
    let entry = is_write(&request, scope).then(|| begin(&app, &caller, route, &request));
    let response = match permitted(&caller, scope, route, request).await {
        Ok(allowed) => {
            request = allowed;
            request.extensions_mut().insert(caller.clone());
            if routes::starts_something(request.method(), route) {
                idempotency::once(&app, &caller, request, next).await
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

fn begin(app: &App, caller: &Caller, route: Option<&str>, request: &Request) -> Open {
    let path = request.uri().path();
    let who = Who {
        key: caller.key_id().map(str::to_owned),
        name: caller.key_name().map(str::to_owned),
        from: request.extensions().get::<Peer>().map(|peer| peer.0.to_string()),
    };
    let what = format!("{} {}", request.method(), route.unwrap_or(path));
    let id = request.headers().get("x-request-id").and_then(|id| id.to_str().ok());
    let security = &app.security;
    Open::begin(&security.audit, security.clock.now(), who, what, path, id)
}

/// The request, if its caller may send it.
async fn permitted(
    caller: &Caller,
    scope: Scope,
    route: Option<&str>,
    request: Request,
) -> Result<Request, Error> {
    if !caller.may(scope) {
        return Err(Error::Forbidden(scope));
    }
    bounded(route, &request)?;
    let can_consent = scope != Scope::Read && !request.method().is_safe();
    if caller.may(Scope::Approve) || !can_consent || routes::is_opaque(route) {
        return Ok(request);
    }
    let (parts, body) = request.into_parts();
    let body = read(body).await?;
    if !body.is_empty() {
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

/// Refuses a body that says itself that it is too long, before any of it is read.
fn bounded(route: Option<&str>, request: &Request) -> Result<(), Error> {
    let bytes_max = if routes::is_opaque(route) { CHECKPOINT_BYTES_MAX } else { BODY_BYTES_MAX };
    let told = request.headers().get(header::CONTENT_LENGTH);
    let bytes: Option<u64> = told.and_then(|length| length.to_str().ok()?.parse().ok());
    match bytes {
        Some(bytes) if bytes > bytes_max as u64 => Err(too_long(bytes_max)),
        _ => Ok(()),
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
pub(super) async fn read(body: Body) -> Result<axum::body::Bytes, Error> {
    to_bytes(body, BODY_BYTES_MAX).await.map_err(|_| too_long(BODY_BYTES_MAX))
}
