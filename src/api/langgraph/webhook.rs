//! Webhooks: somebody is told when a run has ended. Only addresses that anybody may reach are called, the one that was
//! checked is the one that is called, and no redirect is followed.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use reqwest::Url;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::protocol::stamp;
use super::refusal::Refusal;
use super::register::now;
use crate::api::state::App;

/// Hosts that may be called although their addresses are private, separated by commas.
const ALLOW: &str = "PERF_AGENT_WEBHOOK_ALLOW";
/// Signs what is sent; unset: nothing is signed.
const SECRET: &str = "PERF_AGENT_WEBHOOK_SECRET";
/// Header with `sha256=` and the HMAC-SHA-256 of the body in hex.
const SIGNATURE: &str = "x-perf-agent-signature";
/// Pauses between attempts [s].
const PAUSES_S: [u64; 4] = [1, 4, 16, 60];
const TIMEOUT: Duration = Duration::from_secs(10);
/// Length of a block of SHA-256 [bytes].
const BLOCK: usize = 64;

/// Refuses what is no URL of the web, before anything is started for it.
pub(super) fn check(url: &str) -> Result<(), Refusal> {
    parsed(url).map(drop).map_err(|reason| Refusal::invalid(format!("`webhook`: {reason}")))
}

fn parsed(url: &str) -> Result<Url, String> {
    let url = Url::parse(url).map_err(|error| error.to_string())?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("`{}` is not called", url.scheme()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("give no credentials in it".to_owned());
    }
    let host = url.host_str().ok_or_else(|| "it has no host".to_owned())?;
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = bare.parse::<IpAddr>()
        && !is_public(address)
        && !is_allowed(host)
    {
        return Err(format!("{address} is not an address that anybody may reach"));
    }
    Ok(url)
}

fn is_allowed(host: &str) -> bool {
    std::env::var(ALLOW).is_ok_and(|hosts| {
        hosts.split(',').any(|allowed| allowed.trim().eq_ignore_ascii_case(host))
    })
}

/// Whether an address belongs to the public internet.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            let shared = a == 100 && (64..128).contains(&b);
            let benchmarks = a == 198 && (b == 18 || b == 19);
            !(v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_documentation()
                || v4.is_multicast()
                || v4.is_broadcast()
                || shared
                || benchmarks
                || a == 0
                || a >= 240
                || (a, b) == (192, 0))
        }
        IpAddr::V6(v6) => {
            if let Some(v4) = v6.to_ipv4_mapped() {
                return is_public(IpAddr::V4(v4));
            }
            // Global unicast, without what translates to addresses of the other kind.
            let [first, second, ..] = v6.segments();
            first & 0xe000 == 0x2000
                && first != 0x2002
                && (first, second) != (0x2001, 0x0db8)
                && (first, second) != (0x2001, 0)
        }
    }
}

/// Tells `url` that a run has ended, in the background: at once, and again for some time if nobody listens.
pub(super) fn send(app: &App, url: String, run: Value, values: Value) {
    let app = app.clone();
    tokio::spawn(async move {
        let mut body = run;
        body["webhook_sent_at"] = json!(stamp(now()));
        body["run_ended_at"] = body["updated_at"].clone();
        body["error"] = values.get("__error__").cloned().unwrap_or(Value::Null);
        body["values"] = values;
        let body = body.to_string();
        for pause_s in PAUSES_S.map(Some).into_iter().chain([None]) {
            let problem = match post(&url, &body).await {
                Ok(()) => return,
                Err(Failure::Final(problem)) => {
                    tracing::warn!(url, "webhook given up: {problem}");
                    return;
                }
                Err(Failure::Passing(problem)) => problem,
            };
            let Some(pause_s) = pause_s else {
                tracing::warn!(url, "webhook given up: {problem}");
                return;
            };
            tokio::select! {
                () = tokio::time::sleep(Duration::from_secs(pause_s)) => {}
                () = app.drivers.stopped() => return,
            }
        }
    });
}

enum Failure {
    /// The same call may succeed later.
    Passing(String),
    Final(String),
}

async fn post(url: &str, body: &str) -> Result<(), Failure> {
    let url = parsed(url).map_err(Failure::Final)?;
    let host = url.host_str().unwrap_or_default().to_owned();
    let address = resolved(&url, &host).await?;
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(TIMEOUT)
        // The address that was checked, whatever the name means a moment later.
        .resolve(&host, address)
        .no_proxy()
        .build()
        .map_err(|error| Failure::Final(error.to_string()))?;
    let mut request = client
        .post(url)
        .header("content-type", "application/json")
        .header("user-agent", concat!("perf-agent/", env!("CARGO_PKG_VERSION")));
    if let Ok(secret) = std::env::var(SECRET) {
        request = request.header(SIGNATURE, format!("sha256={}", hmac(secret.as_bytes(), body)));
    }
    let response = request.body(body.to_owned()).send().await;
    let status = response.map_err(|error| Failure::Passing(error.to_string()))?.status();
    match status {
        status if status.is_success() => Ok(()),
        status if status.is_server_error() || status.as_u16() == 429 => {
            Err(Failure::Passing(status.to_string()))
        }
        status => Err(Failure::Final(status.to_string())),
    }
}

async fn resolved(url: &Url, host: &str) -> Result<SocketAddr, Failure> {
    let port = url.port_or_known_default().unwrap_or(443);
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let found = tokio::net::lookup_host((bare, port)).await;
    let mut found = found.map_err(|error| Failure::Passing(error.to_string()))?;
    let found: Option<SocketAddr> = if is_allowed(host) {
        found.next()
    } else {
        // A name with a public and a private address is a trick.
        let all: Vec<SocketAddr> = found.collect();
        let public = all.iter().all(|address| is_public(address.ip()));
        all.first().copied().filter(|_| public)
    };
    found.ok_or_else(|| Failure::Final(format!("`{host}` is no host that anybody may reach")))
}

/// HMAC-SHA-256 in hex (RFC 2104).
fn hmac(secret: &[u8], body: &str) -> String {
    let mut key = [0_u8; BLOCK];
    if secret.len() > BLOCK {
        key[..32].copy_from_slice(&Sha256::digest(secret));
    } else {
        key[..secret.len()].copy_from_slice(secret);
    }
    let inner =
        Sha256::new().chain_update(key.map(|byte| byte ^ 0x36)).chain_update(body).finalize();
    let outer =
        Sha256::new().chain_update(key.map(|byte| byte ^ 0x5c)).chain_update(inner).finalize();
    outer.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_inside_are_not_called_however_they_are_written() {
        for url in [
            "http://127.0.0.1/x",
            "http://127.1/x",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://[::1]:8002/",
            "http://[::ffff:10.0.0.1]/",
            "http://10.1.2.3",
            "http://192.168.0.1",
            "http://169.254.169.254/latest/meta-data",
            "http://100.64.0.1",
            "http://0.0.0.0",
            "http://[fd00::1]",
            "http://[fe80::1]",
            "http://[2002:7f00:1::]",
            "http://[64:ff9b::7f00:1]",
            "file:///etc/passwd",
            "gopher://example.org",
            "http://user:secret@example.org",
            "not a url",
        ] {
            assert!(check(url).is_err(), "{url}");
        }
        for url in ["https://example.org/hook", "http://1.1.1.1/", "http://[2606:4700::1111]/"] {
            assert!(check(url).is_ok(), "{url}");
        }
    }

    #[test]
    fn signatures_are_those_of_rfc_4231() {
        let signature = hmac(b"Jefe", "what do ya want for nothing?");
        assert_eq!(signature, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }
}
