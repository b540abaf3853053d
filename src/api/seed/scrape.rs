//! Reads metrics pages of servers that callers name. The endpoints of declared deployments may be read, without keys also
//! this machine; other hosts only when the operator lists them; link-local and metadata addresses never.

use std::time::Duration;

use reqwest::Url;

use crate::agent::{Scrape, Sighting};
use crate::api::security::{Refused, Trust, web_url};
use crate::api::state::App;
use crate::base::{Clock, Coded, SystemClock};
use crate::domain::EngineKind;

/// Largest page that is read [bytes].
const PAGE_BYTES_MAX: usize = 8 << 20;
/// Path of the metrics page where a URL names none.
const METRICS: &str = "/metrics";
/// From one page to the next [ms]: a rate needs two.
const BETWEEN_MS: u64 = 500;

/// The URL of a metrics page.
///
/// Errors: no URL of the web.
pub(super) fn page_url(endpoint: &str) -> Result<Url, String> {
    let mut url = web_url(endpoint)?;
    if matches!(url.path(), "" | "/") {
        url.set_path(METRICS);
    }
    Ok(url)
}

/// Host and port, as two URLs of the same server have them.
pub(super) fn authority(url: &Url) -> Option<(String, u16)> {
    Some((url.host_str()?.to_ascii_lowercase(), url.port_or_known_default()?))
}

/// Reads `pages` pages of the server at `url`, and what they say.
///
/// Errors: in words, without anything that the server said.
pub(super) async fn sighted(
    app: &App,
    engine: EngineKind,
    instance: &str,
    url: &Url,
    pages: usize,
    timeout: Duration,
) -> Result<Sighting, String> {
    let client = client(app, url, timeout).await?;
    let mut scrapes = Vec::with_capacity(pages);
    let read = async {
        for page in 0..pages {
            if page > 0 {
                SystemClock.sleep_ms(BETWEEN_MS).await;
            }
            let text = read(&client, url).await?;
            scrapes.push(Scrape { at: SystemClock.now(), text });
        }
        Ok::<(), String>(())
    };
    let limit = timeout + Duration::from_millis(BETWEEN_MS * pages as u64);
    tokio::time::timeout(limit, read)
        .await
        .map_err(|_| format!("no pages within {} s", limit.as_secs()))??;
    app.agent().read_pages(engine, instance, scrapes).map_err(|error| error.problem().message)
}

async fn client(app: &App, url: &Url, timeout: Duration) -> Result<reqwest::Client, String> {
    let own = authority(url);
    let endpoints = app.agent().endpoints();
    let declared = endpoints.iter().any(|(_, endpoint)| {
        Url::parse(endpoint).ok().and_then(|url| authority(&url)) == own && own.is_some()
    });
    let trust = match (declared, app.security.is_keyed()) {
        (true, _) => Trust::Declared,
        (false, false) => Trust::Here,
        (false, true) => Trust::Listed,
    };
    let client = app.security.outbound.reader(url, trust, timeout).await;
    client.map_err(|refused| match refused {
        Refused::Final(text) => {
            format!(
                "{text}: declare it as a deployment, or list its host in PERF_AGENT_SCRAPE_ALLOW"
            )
        }
        passing => passing.text(),
    })
}

async fn read(client: &reqwest::Client, url: &Url) -> Result<String, String> {
    let mut answer = client.get(url.clone()).send().await.map_err(|error| cause(&error))?;
    if answer.status().as_u16() != 200 {
        return Err(format!("{url} answers {}", answer.status()));
    }
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| cause(&error))? {
        if body.len() + chunk.len() > PAGE_BYTES_MAX {
            return Err(format!("{url} has more than {PAGE_BYTES_MAX} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(String::from_utf8_lossy(&body).into_owned())
}

/// The innermost cause: the outermost only says that the request failed.
fn cause(error: &reqwest::Error) -> String {
    let url = error.url().map_or_else(String::new, Url::to_string);
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    format!("{url} does not answer: {cause}")
}
