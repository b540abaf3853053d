//! What happens around every request: counted, and never without an end.

use std::panic::AssertUnwindSafe;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;

use super::Error;
use super::security::Limits;
use super::state::App;

/// Ends a request that takes too long although it waits for no run.
pub(super) async fn limit_time(request: Request, next: Next) -> Response {
    let limits = request.extensions().get::<Limits>().copied().unwrap_or_default();
    match tokio::time::timeout(limits.answer, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Error::Timeout(limits.answer.as_secs()).into_response(),
    }
}

/// Answers a request whose handler panics, which is a bug: 500, and the connection stays.
pub(super) async fn catch(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(_) if path.starts_with("/api/v1/") => {
            super::seed::dressed(&path, Error::panicked().into_response())
        }
        Err(_) => Error::panicked().into_response(),
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

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::{Body, to_bytes};
    use axum::middleware::from_fn;
    use axum::routing::get;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn a_handler_that_panics_is_answered_with_a_problem() {
        async fn breaks() -> &'static str {
            panic!("it breaks")
        }
        let router = Router::new().route("/x", get(breaks)).route("/api/v1/x", get(breaks));
        let router = router.layer(from_fn(catch));
        for (path, field, word) in
            [("/x", "code", "api.interrupted"), ("/api/v1/x", "error", "http_500")]
        {
            let request = Request::get(path).body(Body::empty()).unwrap();
            let response = router.clone().oneshot(request).await.unwrap();
            assert_eq!(response.status(), 500);
            let body = to_bytes(response.into_body(), 1 << 16).await.unwrap();
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(body[field], word, "{body}");
        }
    }
}
