//! What went wrong with one attempt, told from status, headers and body together.

use http::{HeaderMap, StatusCode};
use serde_json::Value;

use super::chunk::{WireError, error_in};
use super::endpoint::Endpoint;
use super::pause::asked_pause_ms;
use crate::base::Millis;
use crate::llm::Error;

/// Why one attempt gave nothing. Each case is one that the caller treats differently.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(super) enum Failure {
    /// The key was refused.
    #[error("key refused ({status})")]
    Unauthorized { status: u16 },
    /// Too fast; may pass after the pause.
    #[error("rate limited")]
    RateLimited { retry_after_ms: Option<u64> },
    /// Used up for good: waiting does not help.
    #[error("quota exhausted")]
    QuotaExhausted,
    /// Larger than the server takes.
    #[error("too large: {detail}")]
    TooLarge { detail: String },
    /// The same request may pass later: 408, 498, 5xx, no connection, a broken stream.
    #[error("{detail}")]
    Transient { detail: String, retry_after_ms: Option<u64> },
    /// The same request can never pass.
    #[error("{detail}")]
    Unreachable { detail: String },
    /// Silence for too long.
    #[error("silence for {waited_ms} ms")]
    Silent { waited_ms: u64 },
    /// Malformed in the server's eyes.
    #[error("refused ({status}): {detail}")]
    Refused { status: u16, detail: String },
    /// The server could not read the call that the model wrote; this is what the model wrote.
    #[error("tool use failed: {detail}")]
    ToolUse { generation: String, detail: String },
    /// The model's answer cannot be used.
    #[error("unusable: {detail}")]
    Unusable { detail: String },
}

impl Failure {
    /// A broken connection or stream.
    pub(super) fn transient(detail: impl Into<String>) -> Self {
        Self::Transient { detail: detail.into(), retry_after_ms: None }
    }

    /// An answer that is none.
    pub(super) fn unusable(detail: impl Into<String>) -> Self {
        Self::Unusable { detail: detail.into() }
    }

    /// The same in the words of the room.
    pub(super) fn into_error(self, endpoint: &Endpoint, model: &str) -> Error {
        let model = model.to_owned();
        let at = endpoint.shown();
        match self {
            Self::Unauthorized { status } => Error::Unauthorized { endpoint: at, status },
            Self::RateLimited { retry_after_ms } => {
                Error::RateLimited { endpoint: at, retry_after_ms }
            }
            Self::QuotaExhausted => Error::RateLimited { endpoint: at, retry_after_ms: None },
            Self::TooLarge { detail } => Error::TooLarge { model, detail },
            Self::Transient { detail, .. } | Self::Unreachable { detail } => {
                Error::Unavailable { endpoint: at, detail }
            }
            Self::Silent { waited_ms } => Error::Timeout { endpoint: at, waited_ms },
            Self::Refused { status, detail } => Error::Refused { endpoint: at, status, detail },
            Self::ToolUse { detail, .. } | Self::Unusable { detail } => {
                Error::Unusable { model, detail }
            }
        }
    }
}

/// Reads a refusal. `body` is what came of it; it may be JSON, HTML or nothing.
pub(super) fn classify(
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    now: Millis,
    endpoint: &Endpoint,
) -> Failure {
    let parsed = serde_json::from_slice::<Value>(body).ok();
    let error = parsed.as_ref().and_then(error_in).unwrap_or_default();
    let words = if error.message.is_empty() { plain_words(body) } else { error.message.clone() };
    let pause_ms = asked_pause_ms(headers, &words, now);
    from_status(status.as_u16(), error, &endpoint.quote(&words), pause_ms)
}

/// Reads an error that came as an event inside a stream, after a 200.
pub(super) fn classify_event(error: WireError, now: Millis, endpoint: &Endpoint) -> Failure {
    let words = endpoint.quote(&error.message);
    let pause_ms = asked_pause_ms(&HeaderMap::new(), &error.message, now);
    let status = error.status.unwrap_or(match (error.code.as_str(), error.kind.as_str()) {
        ("tool_use_failed", _) | (_, "invalid_request_error") => 400,
        ("rate_limit_exceeded", _) => 429,
        // Told nothing, we assume what a broken stream is: a fault of the server.
        _ => 500,
    });
    from_status(status, error, &words, pause_ms)
}

fn from_status(status: u16, error: WireError, words: &str, retry_after_ms: Option<u64>) -> Failure {
    let detail = words.to_owned();
    // Groq's own name for it is enough, whatever the status.
    if error.code == "tool_use_failed" || error.failed_generation.is_some() {
        let generation = error.failed_generation.unwrap_or_default();
        return Failure::ToolUse { generation, detail };
    }
    match status {
        401 => Failure::Unauthorized { status },
        413 => Failure::TooLarge { detail },
        400 | 422 if is_too_long(&error, words) => Failure::TooLarge { detail },
        429 if error.code == "insufficient_quota" => Failure::QuotaExhausted,
        429 => Failure::RateLimited { retry_after_ms },
        // 498 is Groq's "flex capacity exceeded".
        408 | 498 | 500..=599 => {
            Failure::Transient { detail: format!("{status} {detail}"), retry_after_ms }
        }
        _ => Failure::Refused { status, detail },
    }
}

/// Over the context: OpenAI and Groq by code, llama.cpp by type, vLLM by its words.
fn is_too_long(error: &WireError, words: &str) -> bool {
    error.code == "context_length_exceeded"
        || error.kind == "exceed_context_size_error"
        || words.contains("maximum context length")
        || words.contains("reduce the length")
}

/// A page is not repeated: it says less than its status.
fn plain_words(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let text = text.trim();
    match text.chars().next() {
        None => "(no body)".to_owned(),
        Some('<') => "(an HTML page, not an API error)".to_owned(),
        Some(_) => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(status: u16, body: &str) -> Failure {
        let endpoint = Endpoint::new("http://h/v1", "gsk_secret".into());
        let status = StatusCode::from_u16(status).unwrap();
        classify(status, &HeaderMap::new(), body.as_bytes(), Millis(0), &endpoint)
    }

    #[test]
    fn an_html_page_is_classified_by_its_status_and_not_repeated() {
        assert_eq!(read(429, "<html>no</html>"), Failure::RateLimited { retry_after_ms: None });
        let Failure::Transient { detail, .. } = read(502, "<html>no</html>") else { panic!() };
        assert_eq!(detail, "502 (an HTML page, not an API error)");
    }

    #[test]
    fn integer_codes_are_read() {
        let body = r#"{"error":{"message":"model `x` does not exist","code":404}}"#;
        let Failure::Refused { status: 404, detail } = read(404, body) else { panic!() };
        assert_eq!(detail, "model `x` does not exist");
    }

    #[test]
    fn too_long_is_recognised_on_every_server() {
        for body in [
            r#"{"error":{"message":"m","code":"context_length_exceeded"}}"#,
            r#"{"error":{"message":"m","type":"exceed_context_size_error","code":400}}"#,
            r#"{"error":{"message":"This model's maximum context length is 8192","code":400}}"#,
        ] {
            assert!(matches!(read(400, body), Failure::TooLarge { .. }), "{body}");
        }
        assert!(matches!(read(413, ""), Failure::TooLarge { .. }));
    }

    #[test]
    fn an_exhausted_quota_is_not_waited_for() {
        let body = r#"{"error":{"message":"m","code":"insufficient_quota"}}"#;
        assert_eq!(read(429, body), Failure::QuotaExhausted);
    }

    #[test]
    fn no_error_repeats_the_key() {
        let body = r#"{"error":{"message":"bad gsk_secret"}}"#;
        for status in [400, 403, 413, 500] {
            assert!(!format!("{:?}", read(status, body)).contains("gsk_secret"));
        }
    }

    #[test]
    fn events_without_a_status_are_told_by_their_code() {
        let endpoint = Endpoint::new("http://h", "".into());
        let error = |code: &str| WireError { code: code.to_owned(), ..WireError::default() };
        let read = |code: &str| classify_event(error(code), Millis(0), &endpoint);
        assert!(matches!(read("tool_use_failed"), Failure::ToolUse { .. }));
        assert!(matches!(read("rate_limit_exceeded"), Failure::RateLimited { .. }));
        assert!(matches!(read(""), Failure::Transient { .. }));
    }
}
