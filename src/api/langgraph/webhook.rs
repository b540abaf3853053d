//! Webhooks: somebody is told when a run has ended. Whom we may call, `security::Outbound` says.

use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::protocol::stamp;
use super::record::Run;
use super::refusal::Refusal;
use super::register::{read_all, write};
use crate::api::security::{Refused, origin_of};
use crate::api::state::App;
use crate::base::{Millis, RunId};

/// Collection of the calls that are still to be made.
const WEBHOOKS: &str = "langgraph.webhooks";
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

/// A call that is still to be made: kept until somebody has taken it, or never will.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Pending {
    run: RunId,
    url: String,
    body: String,
    /// Attempts that failed.
    tried: usize,
    /// The next attempt.
    due: Millis,
}

/// Writes down that `url` is to be told how a run ended, before anybody can see that it has: a crash forgets no call, and may
/// make one twice.
pub(super) async fn keep(
    app: &App,
    url: String,
    run: Run,
    values: Value,
) -> Result<Pending, Refusal> {
    let at = app.security.clock.now();
    let id = run.id();
    let mut body = json!(run);
    body["webhook_sent_at"] = json!(stamp(at));
    body["run_ended_at"] = body["updated_at"].clone();
    body["error"] = values.get("__error__").cloned().unwrap_or(Value::Null);
    body["values"] = values;
    let pending = Pending { run: id, url, body: body.to_string(), tried: 0, due: at };
    write(app.agent(), WEBHOOKS, pending.run.as_str(), &pending).await?;
    Ok(pending)
}

/// Makes the calls that an earlier server of this store left.
pub(super) async fn take_up(app: &App) -> Result<(), Refusal> {
    let left: Vec<Pending> = read_all(app.agent(), WEBHOOKS).await?;
    left.into_iter().for_each(|pending| send(app, pending));
    Ok(())
}

/// Makes a call in the background: when it is due, and again for some time if nobody listens.
pub(super) fn send(app: &App, mut pending: Pending) {
    let calls = app.register.calls.clone();
    let app = app.clone();
    calls.spawn(async move {
        loop {
            tokio::select! {
                () = app.security.clock.sleep_until(pending.due) => {}
                // The next server of this store goes on with it. One that is being made is waited for.
                () = app.drivers.stopped() => return,
            }
            let Some(later) = attempt(&app, &pending).await else { break };
            pending = later;
            kept(write(app.agent(), WEBHOOKS, pending.run.as_str(), &pending).await);
        }
        let documents = app.agent().documents();
        kept(documents.remove(WEBHOOKS, pending.run.as_str()).await.map_err(Refusal::from));
    });
}

/// One attempt. Returns the next one; `None`: there is none, it was taken or given up.
async fn attempt(app: &App, pending: &Pending) -> Option<Pending> {
    let problem = match post(app, &pending.url, &pending.body).await {
        Ok(()) => return None,
        Err(Refused::Final(problem)) => {
            given_up(&pending.url, &problem);
            return None;
        }
        Err(Refused::Passing(problem)) => problem,
    };
    let Some(pause_s) = PAUSES_S.get(pending.tried) else {
        given_up(&pending.url, &problem);
        return None;
    };
    let due = app.security.clock.now().plus(pause_s * 1_000);
    Some(Pending { tried: pending.tried + 1, due, ..pending.clone() })
}

fn given_up(url: &str, problem: &str) {
    tracing::warn!(to = origin_of(url), "webhook given up: {problem}");
}

/// What is not written down is made anyway, while this process lives.
fn kept<T>(written: Result<T, Refusal>) {
    if let Err(refusal) = written {
        tracing::error!("a webhook is not written down: {}", refusal.detail());
    }
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
