//! The orchestrator's wire: three calls, and what their answers mean.

use std::time::Duration;

use reqwest::Url;
use serde_json::{Value, json};

use super::OrchestratorOptions;
use super::course::Answer;

/// Longest wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Largest answer that is read [bytes].
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// What this agent takes as tasks.
const CAPABILITIES: [&str; 2] = ["optimize_kv_cache", "tune_inference"];

/// Calls to one orchestrator.
pub(super) struct Link {
    client: reqwest::Client,
    base: Url,
    prefix: String,
    introduction: Value,
}

impl Link {
    /// A link for an agent that listens at `host`:`port`.
    ///
    /// Errors: no URL of the web, or no client can be built: in words.
    pub(super) fn new(
        options: &OrchestratorOptions,
        host: &str,
        port: u16,
        model: &str,
    ) -> Result<Self, String> {
        let base = crate::api::security::web_url(&options.url)?;
        // An error says that one was installed before, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(TIMEOUT)
            .no_proxy()
            .build()
            .map_err(|error| error.to_string())?;
        let introduction = json!({
            "name": options.name,
            "type": "performance",
            "host": options.host.as_deref().unwrap_or(host),
            "port": port,
            "capabilities": CAPABILITIES,
            "version": env!("CARGO_PKG_VERSION"),
            "metadata": {"model": model},
        });
        Ok(Self { client, base, prefix: options.prefix.clone(), introduction })
    }

    /// Asks for an id.
    pub(super) async fn register(&self) -> Answer {
        let (status, body) = match self.post(&["agents", "register"], &self.introduction).await {
            Ok(answer) => answer,
            Err(reason) => return Answer::Failed(reason),
        };
        let said = || format!("registering was answered {status}");
        match status {
            200 | 201 => match id(&body) {
                Some(id) => Answer::Registered {
                    id,
                    interval_s: seconds(&body, "heartbeat_interval_seconds"),
                },
                None => Answer::Failed(format!("{}, without an `agent_id`", said())),
            },
            // 422 is what servers say that check bodies by a schema.
            400 | 422 => Answer::Refused(format!("{}: {}", said(), message(&body))),
            _ => Answer::Failed(said()),
        }
    }

    /// Says how this agent is.
    pub(super) async fn beat(&self, id: &str, status: &str, metadata: Value) -> Answer {
        let beat = json!({"status": status, "metadata": metadata});
        let (status, body) = match self.post(&["agents", id, "heartbeat"], &beat).await {
            Ok(answer) => answer,
            Err(reason) => return Answer::Failed(reason),
        };
        let said = || format!("a heartbeat was answered {status}");
        match status {
            // Whatever else the answer says, another id too: it was heard under this one.
            200..=299 => Answer::Heard { interval_s: seconds(&body, "next_interval_seconds") },
            404 => Answer::Unknown,
            400 | 422 => Answer::Refused(format!("{}: {}", said(), message(&body))),
            _ => Answer::Failed(said()),
        }
    }

    /// Takes leave.
    ///
    /// Errors: it was not heard: in words.
    pub(super) async fn leave(&self, id: &str) -> Result<(), String> {
        match self.post(&["agents", id, "unregister"], &json!({})).await? {
            // Gone already is gone.
            (200..=299 | 404, _) => Ok(()),
            (status, _) => Err(format!("taking leave was answered {status}")),
        }
    }

    /// Status and body; a body that is no JSON is `null`.
    async fn post(&self, path: &[&str], body: &Value) -> Result<(u16, Value), String> {
        let mut url = self.base.clone();
        {
            let mut segments = url.path_segments_mut().map_err(|()| "no base URL".to_owned())?;
            segments.pop_if_empty();
            segments.extend(self.prefix.split('/').filter(|part| !part.is_empty())).extend(path);
        }
        let sent = self.client.post(url).json(body).send().await;
        let mut answer = sent.map_err(|error| cause(&error))?;
        let status = answer.status().as_u16();
        let mut read = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| cause(&error))? {
            if read.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Ok((status, Value::Null));
            }
            read.extend_from_slice(&chunk);
        }
        Ok((status, serde_json::from_slice(&read).unwrap_or(Value::Null)))
    }
}

/// The id that was given: a text, or a number.
fn id(body: &Value) -> Option<String> {
    match &body["agent_id"] {
        // A path of dots leads elsewhere.
        Value::String(id) if !matches!(id.as_str(), "" | "." | "..") => Some(id.clone()),
        Value::Number(id) => Some(id.to_string()),
        _ => None,
    }
}

fn seconds(body: &Value, field: &str) -> Option<u64> {
    let value = &body[field];
    value.as_u64().or_else(|| value.as_f64().filter(|s| *s > 0.0).map(|s| s.round() as u64))
}

/// What the orchestrator says of a refusal, cut to a line.
fn message(body: &Value) -> String {
    body.to_string().chars().take(200).collect()
}

/// The innermost cause: the outermost only says that the request failed.
fn cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    format!("it does not answer: {cause}")
}
