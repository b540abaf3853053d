//! What happens around every request: counted, and never without an end.

use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Error;
use super::state::App;

/// Longest answer of a request that does not wait for a run [s].
const TIMEOUT_S: u64 = 30;

/// Ends a request that takes too long.
pub(super) async fn limit_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(Duration::from_secs(TIMEOUT_S), next.run(request)).await {
        Ok(response) => response,
        Err(_) => Error::Timeout(TIMEOUT_S).into_response(),
    }
}

/// Counts a request by its route, so that ids in paths make no series of their own.
pub(super) async fn count(State(app): State<App>, request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let began = Instant::now();
    let response = next.run(request).await;
    let route = route.as_ref().map_or("none", MatchedPath::as_str);
    app.metrics.answered(&method, route, response.status(), began.elapsed());
    response
}

/// What the log says of everything that happens within one request. The id is the caller's, or a fresh one; it is answered.
pub(super) fn span(request: &Request) -> tracing::Span {
    let id = request.headers().get("x-request-id").and_then(|id| id.to_str().ok());
    tracing::info_span!("request", method = %request.method(), path = request.uri().path(), id)
}

/// A path that there is not.
pub(super) async fn no_route(uri: Uri) -> Error {
    Error::NoRoute(uri.path().to_owned())
}

/// A method that a path does not answer to.
pub(super) async fn no_method(method: Method, uri: Uri) -> Error {
    Error::Method { path: uri.path().to_owned(), method: method.to_string() }
}
