//! Webhooks: somebody is told when a run has ended. Only addresses that anybody may reach are called, the one that was
//! checked is the one that is called, and no redirect is followed.

use std::time::Duration;

use reqwest::Url;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::protocol::stamp;
use super::refusal::Refusal;
use super::register::now;
use crate::api::outbound::{self, Failure, is_public};
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
    let url = outbound::parsed(url)?;
    match outbound::literal(&url) {
        Some(address) if !is_public(address) && !is_allowed(&url) => {
            Err(format!("{address} is not an address that anybody may reach"))
        }
        _ => Ok(url),
    }
}

fn is_allowed(url: &Url) -> bool {
    url.host_str().is_some_and(|host| outbound::is_listed(ALLOW, host))
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

async fn post(url: &str, body: &str) -> Result<(), Failure> {
    let url = parsed(url).map_err(Failure::Final)?;
    let allowed = is_allowed(&url);
    let client = outbound::client(&url, TIMEOUT, |address| allowed || is_public(address)).await?;
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
