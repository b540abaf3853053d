//! One attempt over HTTP: async-openai sends, our own service reads every refusal before the crate does.

use std::sync::Arc;

use async_openai::Client;
use async_openai::error::OpenAIError;
use async_openai::middleware::HttpRequestFactory;
use async_openai::types::stream::StreamResponse;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use http::header::CONTENT_TYPE;
use serde_json::Value;

use super::endpoint::Endpoint;
use super::failure::{Failure, classify};
use super::redact::without_key;
use super::request::WireRequest;
use crate::base::Clock;

/// Longest body of a refusal, or of a reply that is not streamed, that is read [bytes].
const BODY_BYTES_MAX: usize = 4 << 20;

/// A client for one endpoint. Cheap to clone.
#[derive(Clone)]
pub(super) struct Transport {
    http: reqwest::Client,
    openai: Client<Endpoint>,
}

impl Transport {
    /// Fails when the machine's TLS roots cannot be read.
    pub(super) fn new(endpoint: Endpoint, clock: Arc<dyn Clock>) -> Result<Self, reqwest::Error> {
        // reqwest panics without a crypto provider. `main` installs one first; whoever uses the library may not have.
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        // A redirect would carry the prompt elsewhere; it is a refusal instead.
        let mut builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("perf-agent/", env!("CARGO_PKG_VERSION")));
        if endpoint.is_loopback() {
            builder = builder.no_proxy();
        }
        let http = builder.build()?;
        let service = {
            let (http, endpoint) = (http.clone(), endpoint.clone());
            tower::service_fn(move |factory: HttpRequestFactory| {
                attempt(http.clone(), endpoint.clone(), Arc::clone(&clock), factory)
            })
        };
        let openai = Client::build(http.clone(), endpoint).with_http_service(service);
        Ok(Self { http, openai })
    }

    /// Sends a request and returns its events as they come.
    ///
    /// Events are plain JSON here: a type of our own that failed to parse would be logged by the crate with its content.
    pub(super) async fn stream(
        &self,
        request: &WireRequest<'_>,
    ) -> Result<StreamResponse<Value>, Failure> {
        self.openai.chat().create_stream_byot(request).await.map_err(into_failure)
    }

    /// The client below, for calls that are no chat.
    pub(super) fn http(&self) -> &reqwest::Client {
        &self.http
    }
}

/// What the crate says went wrong, back in our words.
pub(super) fn into_failure(error: OpenAIError) -> Failure {
    match error {
        OpenAIError::Boxed(error) => match error.downcast::<Failure>() {
            Ok(failure) => *failure,
            Err(error) => Failure::transient(error.to_string()),
        },
        OpenAIError::Reqwest(error) => from_reqwest(error),
        OpenAIError::JSONDeserialize(..) => Failure::transient("an event that is no JSON"),
        OpenAIError::StreamError(error) => Failure::transient(format!("the stream broke: {error}")),
        // Bodies of refusals were read before the crate could; what is left are requests it cannot build.
        other => Failure::Unreachable { detail: other.to_string() },
    }
}

/// A request that never got an answer. The URL is left out: it may hold credentials.
pub(super) fn from_reqwest(error: reqwest::Error) -> Failure {
    let error = error.without_url();
    let mut detail = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        detail = format!("{detail}: {cause}");
        source = cause.source();
    }
    if error.is_builder() { Failure::Unreachable { detail } } else { Failure::transient(detail) }
}

async fn attempt(
    http: reqwest::Client,
    endpoint: Endpoint,
    clock: Arc<dyn Clock>,
    factory: HttpRequestFactory,
) -> Result<reqwest::Response, OpenAIError> {
    let response = http.execute(factory.build().await?).await.map_err(OpenAIError::Reqwest)?;
    if response.status().is_success() {
        return as_stream(response, &endpoint).await.map_err(boxed);
    }
    let (status, headers) = (response.status(), response.headers().clone());
    // A body that breaks off still leaves the status and the headers to judge by.
    let body = read_body(response).await.unwrap_or_default();
    Err(boxed(classify(status, &headers, &body, clock.now(), &endpoint)))
}

fn boxed(failure: Failure) -> OpenAIError {
    OpenAIError::Boxed(Box::new(failure))
}

/// Passes a stream on, without our key. A server that ignored `stream: true` has its one reply made an event of its own.
async fn as_stream(
    response: reqwest::Response,
    endpoint: &Endpoint,
) -> Result<reqwest::Response, Failure> {
    let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.unwrap_or_default().to_ascii_lowercase();
    if kind.starts_with("text/event-stream") || kind.is_empty() {
        let pieces = without_key(response.bytes_stream().boxed(), endpoint);
        return Ok(http::Response::new(reqwest::Body::wrap_stream(pieces)).into());
    }
    if !kind.starts_with("application/json") {
        let detail = format!("200 with {}, which is no model's answer", endpoint.quote(&kind));
        return Err(Failure::transient(detail));
    }
    let body = read_body(response).await?;
    let value: Value = serde_json::from_slice(&body)
        .map_err(|error| Failure::transient(format!("200 with broken JSON: {error}")))?;
    let event = Bytes::from(format!("data: {value}\n\ndata: [DONE]\n\n"));
    let pieces = futures::stream::iter([Ok::<_, std::io::Error>(event)]);
    let pieces = without_key(pieces, endpoint);
    Ok(http::Response::new(reqwest::Body::wrap_stream(pieces)).into())
}

/// The body, cut at [`BODY_BYTES_MAX`].
pub(super) async fn read_body(response: reqwest::Response) -> Result<Bytes, Failure> {
    let mut body = BytesMut::new();
    let mut pieces = response.bytes_stream();
    while let Some(piece) = pieces.next().await {
        body.extend_from_slice(&piece.map_err(from_reqwest)?);
        if body.len() >= BODY_BYTES_MAX {
            body.truncate(BODY_BYTES_MAX);
            break;
        }
    }
    Ok(body.freeze())
}
