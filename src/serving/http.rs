//! The one place that builds an HTTP client, and a bounded GET.

use std::time::Duration;

use super::Error;

/// Largest page that is read [B]. A vLLM page has about 50 kB; one with very many labels a few MB.
const PAGE_BYTES_MAX: usize = 16 << 20;

/// A client for metrics pages, health checks and control calls.
///
/// Goes straight to the server: a proxy from the environment would not know a server on this host. Installs the
/// process's TLS provider first, without which no client can be built, plain HTTP included.
///
/// Errors: [`Error::Unreachable`] when the TLS backend does not come up.
pub fn http_client(timeout: Duration) -> Result<reqwest::Client, Error> {
    // An error says that one was installed before, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().timeout(timeout).no_proxy().build();
    client.map_err(|error| unreachable_at("the HTTP client", &error))
}

/// The body at `url`, which must answer 200.
///
/// Errors: [`Error::Unreachable`] without an answer, [`Error::BadAnswer`] for another status or too large a body.
pub(super) async fn get_text(client: &reqwest::Client, url: &str) -> Result<String, Error> {
    let mut answer = client.get(url).send().await.map_err(|error| unreachable_at(url, &error))?;
    let status = answer.status().as_u16();
    let bad = |detail: String| Error::BadAnswer { endpoint: url.to_owned(), status, detail };
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| unreachable_at(url, &error))? {
        if body.len() + chunk.len() > PAGE_BYTES_MAX {
            return Err(bad(format!("more than {PAGE_BYTES_MAX} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    let text = String::from_utf8_lossy(&body);
    if status != 200 {
        return Err(bad(text.chars().take(200).collect()));
    }
    Ok(text.into_owned())
}

fn unreachable_at(endpoint: &str, error: &reqwest::Error) -> Error {
    // The outermost error only says "error sending request"; the innermost says why.
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    Error::Unreachable { endpoint: endpoint.to_owned(), detail: cause.to_string() }
}
