//! Webhooks: somebody is told when a run has ended. Whom we may call, `security::Outbound` says.

use std::time::Duration;

use secrecy::ExposeSecret;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::protocol::stamp;
use super::refusal::Refusal;
use super::register::now;
use crate::api::security::{Refused, origin_of};
use crate::api::state::App;

/// Header with `sha256=` and the HMAC-SHA-256 of the body in hex.
const SIGNATURE: &str = "x-perf-agent-signature";
/// Pauses between attempts [s].
const PAUSES_S: [u64; 4] = [1, 4, 16, 60];
/// Length of a block of SHA-256 [bytes].
const BLOCK: usize = 64;

/// Refuses what may not be called, before anything is started for it.
pub(super) fn check(app: &App, url: &str) -> Result<(), Refusal> {
    let checked = app.security.outbound.check(url);
    checked.map(drop).map_err(|reason| Refusal::invalid(format!("`webhook`: {reason}")))
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
            let problem = match post(&app, &url, &body).await {
                Ok(()) => return,
                Err(Refused::Final(problem)) => return given_up(&url, &problem),
                Err(Refused::Passing(problem)) => problem,
            };
            let Some(pause_s) = pause_s else { return given_up(&url, &problem) };
            tokio::select! {
                () = tokio::time::sleep(Duration::from_secs(pause_s)) => {}
                () = app.drivers.stopped() => return,
            }
        }
    });
}

fn given_up(url: &str, problem: &str) {
    tracing::warn!(to = origin_of(url), "webhook given up: {problem}");
}

async fn post(app: &App, url: &str, body: &str) -> Result<(), Refused> {
    let (url, client) = app.security.outbound.client(url).await?;
    let mut request = client
        .post(url)
        .header("content-type", "application/json")
        .header("user-agent", concat!("perf-agent/", env!("CARGO_PKG_VERSION")));
    if let Some(secret) = &app.security.webhook_secret {
        let signature = hmac(secret.expose_secret().as_bytes(), body);
        request = request.header(SIGNATURE, format!("sha256={signature}"));
    }
    let response = request.body(body.to_owned()).send().await;
    let failed = |error: reqwest::Error| Refused::Passing(error.without_url().to_string());
    match response.map_err(failed)?.status() {
        status if status.is_success() => Ok(()),
        status if status.is_server_error() || status.as_u16() == 429 => {
            Err(Refused::Passing(status.to_string()))
        }
        status => Err(Refused::Final(status.to_string())),
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
    fn signatures_are_those_of_rfc_4231() {
        let signature = hmac(b"Jefe", "what do ya want for nothing?");
        assert_eq!(signature, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }
}
