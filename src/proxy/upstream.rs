//! Connections to backends.

use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use http::uri::{Authority, PathAndQuery, Scheme};
use hyper::body::{Body, Incoming};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::backends::BackendState;

/// A pooled HTTP/1 client that sends bodies of type `B`.
pub type HttpClient<B> = Client<HttpConnector, B>;

/// Why a backend gave no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoAnswer {
    /// It took no connection: the request was not sent, and may be sent elsewhere.
    Connect,
    /// It took longer than the longest wait.
    Timeout,
    /// It took the request and broke the connection.
    Broken,
}

/// A client that waits `connect_timeout` for a connection and keeps unused ones for `pool_idle`.
pub fn client<B>(connect_timeout: Duration, pool_idle: Duration) -> HttpClient<B>
where
    B: Body<Data = Bytes> + Send,
{
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(connect_timeout));
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(pool_idle)
        // Header names keep the case in which the client wrote them.
        .http1_preserve_header_case(true)
        .build(connector)
}

/// `http://authority` followed by a path and query.
pub fn uri(authority: &Authority, path_and_query: &str) -> Uri {
    let path = path_and_query.parse().unwrap_or_else(|_| PathAndQuery::from_static("/"));
    whole_uri(authority, path)
}

fn whole_uri(authority: &Authority, path: PathAndQuery) -> Uri {
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(authority.clone());
    parts.path_and_query = Some(path);
    // All three parts are there, which is all that can be missing.
    Uri::from_parts(parts).unwrap_or_default()
}

/// Sends a request to a backend and waits for the head of its answer.
///
/// Errors: [`NoAnswer`].
pub async fn call<B>(
    client: &HttpClient<B>,
    backend: &BackendState,
    mut request: http::Request<B>,
    answer_timeout: Duration,
) -> Result<http::Response<Incoming>, NoAnswer>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let path = request.uri().path_and_query().cloned();
    *request.uri_mut() =
        whole_uri(&backend.authority, path.unwrap_or_else(|| PathAndQuery::from_static("/")));
    match tokio::time::timeout(answer_timeout, client.request(request)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) if error.is_connect() => Err(NoAnswer::Connect),
        Ok(Err(_)) => Err(NoAnswer::Broken),
        Err(_) => Err(NoAnswer::Timeout),
    }
}
