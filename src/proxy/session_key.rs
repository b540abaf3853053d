//! What tells one conversation from another when the client does not say.

use http::HeaderMap;
use serde::Deserialize;
use serde::de::{IgnoredAny, SeqAccess, Visitor};

use crate::base::stable_hash;

/// Header in which a client names its session.
pub const SESSION_HEADER: &str = "x-session-id";

/// Bytes of a raw prompt that stand for its conversation.
const PROMPT_PREFIX: usize = 1024;

/// The session key of a request: the header, else the body's `user`, else the conversation's opening.
///
/// The opening is every message up to and including the first one by the user. It stays the same as the
/// conversation grows and, unlike a fixed number of bytes, does not end inside a system prompt that many share.
/// `None` when the request has none of these.
pub fn session_key(headers: &HeaderMap, body: Option<&[u8]>) -> Option<String> {
    if let Some(value) = headers.get(SESSION_HEADER).filter(|value| !value.is_empty()) {
        return Some(format!("header:{}", String::from_utf8_lossy(value.as_bytes())));
    }
    let body: Body = serde_json::from_slice(body?).ok()?;
    if let Some(user) = body.user.filter(|user| !user.is_empty()) {
        return Some(format!("user:{user}"));
    }
    if let Some(Opening(messages)) = body.messages {
        return Some(format!("opening:{}", stable_hash(&[&messages])));
    }
    let prompt = body.prompt?;
    let end = prompt.floor_char_boundary(PROMPT_PREFIX);
    Some(format!("prompt:{}", stable_hash(&[&prompt[..end]])))
}

#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    user: Option<String>,
    #[serde(default)]
    messages: Option<Opening>,
    #[serde(default, deserialize_with = "text_only")]
    prompt: Option<String>,
}

/// A prompt may also be a list of texts or of tokens; such a batch is no conversation.
fn text_only<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    let value = serde_json::Value::deserialize(from)?;
    Ok(value.as_str().map(str::to_owned))
}

/// The messages up to the first of the user, as text.
struct Opening(String);

impl<'de> Deserialize<'de> for Opening {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Messages;
        impl<'de> Visitor<'de> for Messages {
            type Value = Opening;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a list of messages")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Opening, A::Error> {
                let mut opening = String::new();
                while let Some(message) = list.next_element::<Message>()? {
                    opening.push_str(&message.role);
                    opening.push_str(&message.content.to_string());
                    if message.role == "user" {
                        // The rest of the history is skipped, not stored.
                        while list.next_element::<IgnoredAny>()?.is_some() {}
                        break;
                    }
                }
                Ok(Opening(opening))
            }
        }
        from.deserialize_seq(Messages)
    }
}

#[derive(Deserialize)]
struct Message {
    role: String,
    #[serde(default)]
    content: serde_json::Value,
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]
mod tests {
    use super::*;

    fn key(body: &str) -> Option<String> {
        session_key(&HeaderMap::new(), Some(body.as_bytes()))
    }

    #[test]
    fn the_header_beats_the_user_and_the_user_beats_the_opening() {
        let body = r#"{"user":"u1","messages":[{"role":"user","content":"hi"}]}"#;
        let mut headers = HeaderMap::new();
        headers.insert(SESSION_HEADER, "s1".parse().unwrap());
        assert_eq!(session_key(&headers, Some(body.as_bytes())).unwrap(), "header:s1");
        assert_eq!(key(body).unwrap(), "user:u1");
    }

    #[test]
    fn a_conversation_keeps_its_key_as_it_grows() {
        let first =
            r#"{"messages":[{"role":"system","content":"s"},{"role":"user","content":"a"}]}"#;
        let later = r#"{"messages":[{"role":"system","content":"s"},{"role":"user","content":"a"},
            {"role":"assistant","content":"b"},{"role":"user","content":"c"}]}"#;
        assert_eq!(key(first), key(later));
    }

    #[test]
    fn a_long_system_prompt_does_not_make_two_conversations_one() {
        let system = "s".repeat(5_000);
        let ask = |text: &str| {
            key(&format!(
                r#"{{"messages":[{{"role":"system","content":"{system}"}},{{"role":"user","content":"{text}"}}]}}"#
            ))
        };
        assert_ne!(ask("a"), ask("b"));
    }

    #[test]
    fn content_in_parts_and_raw_prompts_have_keys_and_batches_do_not() {
        assert!(
            key(r#"{"messages":[{"role":"user","content":[{"type":"text","text":"a"}]}]}"#)
                .is_some()
        );
        assert!(key(r#"{"prompt":"once upon a time"}"#).unwrap().starts_with("prompt:"));
        assert_eq!(key(r#"{"prompt":[1,2,3]}"#), None);
        assert_eq!(key("not json"), None);
        assert_eq!(session_key(&HeaderMap::new(), None), None);
    }
}
