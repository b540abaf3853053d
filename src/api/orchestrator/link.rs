//! The orchestrator's wire: three calls, and what their answers mean.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use reqwest::Url;
use serde_json::{Value, json};
use tokio::net::UdpSocket;

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
    /// What the orchestrator is told to call; `None`: the address that leads there from here.
    host: Option<String>,
    listen: SocketAddr,
    introduction: Value,
}

impl Link {
    /// A link for an agent that listens at `listen`.
    ///
    /// Errors: no URL of the web, or no client can be built: in words.
    pub(super) fn new(
        options: &OrchestratorOptions,
        listen: SocketAddr,
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
            "port": listen.port(),
            "capabilities": CAPABILITIES,
            "version": env!("CARGO_PKG_VERSION"),
            "metadata": {"model": model},
        });
        // Where it listens at every address, that is none that anybody could call.
        let own = (!listen.ip().is_unspecified()).then(|| listen.ip().to_string());
        let host = options.host.clone().or(own);
        Ok(Self { client, base, prefix: options.prefix.clone(), host, listen, introduction })
    }

    /// How this agent introduces itself.
    ///
    /// Errors: there is no way from here to the orchestrator: in words.
    async fn introduction(&self) -> Result<Value, String> {
        let host = match &self.host {
            Some(host) => host.clone(),
            None => {
                let found = tokio::time::timeout(TIMEOUT, local(&self.base, self.listen)).await;
                let found = found.map_err(|_| "its name is not resolved in time".to_owned())?;
                found.map_err(|error| format!("no way leads there: {error}"))?.to_string()
            }
        };
        let mut introduction = self.introduction.clone();
        introduction["host"] = json!(host);
        Ok(introduction)
    }

    /// Asks for an id.
    pub(super) async fn register(&self) -> Answer {
        let introduction = match self.introduction().await {
            Ok(introduction) => introduction,
            Err(reason) => return Answer::Failed(reason),
        };
        let (status, body) = match self.post(&["agents", "register"], &introduction).await {
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

/// The address of this machine that calls to `url` come from, of the kind that it listens at. Nothing is sent.
async fn local(url: &Url, listen: SocketAddr) -> io::Result<IpAddr> {
    let host = url.host_str().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = url.port_or_known_default().unwrap_or(443);
    let mut found = tokio::net::lookup_host((host, port)).await?;
    let there = found.find(|address| address.is_ipv4() == listen.is_ipv4());
    let other = || io::Error::other(format!("`{host}` has no address of the kind of {listen}"));
    let socket = UdpSocket::bind(SocketAddr::new(listen.ip(), 0)).await?;
    socket.connect(there.ok_or_else(other)?).await?;
    Ok(socket.local_addr()?.ip())
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
