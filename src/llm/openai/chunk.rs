//! What servers send back, read leniently: unknown fields and unknown values never spoil a reply.

use serde::Deserialize;
use serde_json::Value;

/// One server-sent event, or a whole reply of a server that does not stream.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Chunk {
    #[serde(default)]
    pub(super) model: Option<String>,
    #[serde(default)]
    pub(super) choices: Option<Vec<Choice>>,
    #[serde(default)]
    pub(super) usage: Option<WireUsage>,
    #[serde(default)]
    pub(super) x_groq: Option<XGroq>,
}

/// One of the answers; we ask for one.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Choice {
    /// `message` is what a server that does not stream calls it.
    #[serde(default, alias = "message")]
    pub(super) delta: Option<Delta>,
    #[serde(default)]
    pub(super) finish_reason: Option<String>,
}

/// More of an answer.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Delta {
    #[serde(default)]
    pub(super) content: Option<String>,
    /// Groq and vLLM.
    #[serde(default)]
    pub(super) reasoning: Option<String>,
    /// llama.cpp and older vLLM; newer vLLM may send both names with the same text.
    #[serde(default)]
    pub(super) reasoning_content: Option<String>,
    #[serde(default)]
    pub(super) tool_calls: Option<Vec<CallDelta>>,
}

/// A piece of a call.
#[derive(Debug, Default, Deserialize)]
pub(super) struct CallDelta {
    #[serde(default)]
    pub(super) index: Option<usize>,
    #[serde(default)]
    pub(super) id: Option<String>,
    #[serde(default)]
    pub(super) function: Option<FunctionDelta>,
}

/// Its name and arguments.
#[derive(Debug, Default, Deserialize)]
pub(super) struct FunctionDelta {
    #[serde(default)]
    pub(super) name: Option<String>,
    /// Text by the protocol; some servers send the object itself.
    #[serde(default)]
    pub(super) arguments: Option<Value>,
}

/// Tokens as the protocol counts them.
#[derive(Debug, Default, Clone, Deserialize)]
pub(super) struct WireUsage {
    #[serde(default)]
    pub(super) prompt_tokens: u64,
    #[serde(default)]
    pub(super) completion_tokens: u64,
    #[serde(default)]
    pub(super) prompt_tokens_details: Option<PromptDetails>,
}

/// Parts of the prompt.
#[derive(Debug, Default, Clone, Deserialize)]
pub(super) struct PromptDetails {
    #[serde(default)]
    pub(super) cached_tokens: Option<u64>,
}

/// Groq's own corner of a chunk.
#[derive(Debug, Default, Deserialize)]
pub(super) struct XGroq {
    #[serde(default)]
    pub(super) usage: Option<WireUsage>,
    /// Why a stream was stopped early.
    #[serde(default)]
    pub(super) error: Option<Value>,
}

/// The error a body or an event holds, if it is one.
///
/// `{"error": {…}}` (Groq, OpenAI, vLLM, llama.cpp), `{"error": "…"}` (Ollama), or the bare object of older vLLM.
pub(super) fn error_in(body: &Value) -> Option<WireError> {
    if let Some(error) = body.get("error").filter(|error| !error.is_null()) {
        return Some(WireError::read(error));
    }
    let bare = body.get("choices").is_none() && body.get("message").is_some_and(Value::is_string);
    bare.then(|| WireError::read(body))
}

/// An error in a provider's words. `code` may be text or a number; both are kept as text.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct WireError {
    pub(super) message: String,
    pub(super) kind: String,
    pub(super) code: String,
    pub(super) failed_generation: Option<String>,
    /// The status it would have had, when it comes inside a stream.
    pub(super) status: Option<u16>,
}

impl WireError {
    fn read(error: &Value) -> Self {
        let text = |name: &str| match error.get(name) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Number(number)) => number.to_string(),
            _ => String::new(),
        };
        let code = text("code");
        let status = [text("status_code"), code.clone()]
            .iter()
            .filter_map(|text| text.parse().ok())
            .find(|status| (400..600).contains(status));
        Self {
            message: error.as_str().map_or_else(|| text("message"), str::to_owned),
            kind: text("type"),
            code,
            failed_generation: failed_generation(error.get("failed_generation")),
            status,
        }
    }
}

/// Groq sends text; a structured one is kept as its text.
fn failed_generation(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn errors_are_found_in_every_known_shape() {
        let groq = json!({"error": {"message": "m", "type": "t", "code": "tool_use_failed",
            "failed_generation": "{}"}});
        let vllm = json!({"error": {"message": "m", "type": "BadRequestError", "code": 400}});
        let bare = json!({"object": "error", "message": "m", "code": 404});
        let ollama = json!({"error": "m"});
        for body in [&groq, &vllm, &bare, &ollama] {
            assert_eq!(error_in(body).unwrap().message, "m", "{body}");
        }
        assert_eq!(error_in(&vllm).unwrap().status, Some(400));
        assert_eq!(error_in(&groq).unwrap().failed_generation.as_deref(), Some("{}"));
        assert_eq!(error_in(&json!({"choices": [], "error": null})), None);
    }

    #[test]
    fn an_unknown_service_tier_spoils_nothing() {
        let chunk: Chunk =
            serde_json::from_value(json!({"model": "m", "service_tier": "on_demand",
            "choices": [{"index": 0, "delta": {"role": "assistant", "content": null}}]}))
            .unwrap();
        assert_eq!(chunk.choices.unwrap().len(), 1);
    }
}
