//! JSON as models write it: cut out of control tokens, code fences and prose.

use serde_json::{Map, Value};

/// The object that `text` starts with, ignoring what follows it; no text at all is no arguments.
///
/// Arguments that were encoded twice are decoded twice.
pub(super) fn object_at_start(text: &str) -> Result<Value, String> {
    let text = text.trim_start();
    if text.is_empty() {
        return Ok(Value::Object(Map::new()));
    }
    let first = serde_json::Deserializer::from_str(text).into_iter::<Value>().next();
    match first {
        Some(Ok(Value::Object(members))) => Ok(Value::Object(members)),
        Some(Ok(Value::String(inner))) if inner.trim_start().starts_with('{') => {
            object_at_start(&inner)
        }
        Some(Ok(Value::Null)) | None => Ok(Value::Object(Map::new())),
        Some(Ok(_)) => Err("the arguments must be a JSON object".to_owned()),
        Some(Err(error)) if error.is_eof() => Err("the arguments end too early".to_owned()),
        Some(Err(error)) => Err(format!("the arguments are no JSON: {error}")),
    }
}

/// The JSON that is the whole of `text`, apart from a code fence around it.
pub(super) fn whole_json(text: &str) -> Result<Value, serde_json::Error> {
    serde_json::from_str(unfenced(text))
}

fn unfenced(text: &str) -> &str {
    let text = text.trim();
    let Some(inner) = text.strip_prefix("```").and_then(|rest| rest.strip_suffix("```")) else {
        return text;
    };
    // The first line names the language.
    inner.split_once('\n').map_or(inner, |(_, body)| body).trim()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn what_follows_the_object_is_ignored() {
        assert_eq!(object_at_start(r#"{"a":1}<|call|>"#), Ok(json!({"a": 1})));
        assert_eq!(object_at_start(""), Ok(json!({})));
        assert_eq!(object_at_start("null"), Ok(json!({})));
        assert_eq!(object_at_start(r#""{\"a\":1}""#), Ok(json!({"a": 1})));
        assert_eq!(object_at_start(r#"{"a":"#), Err("the arguments end too early".to_owned()));
        assert!(object_at_start("[1]").is_err());
    }

    #[test]
    fn a_code_fence_is_taken_off() {
        assert_eq!(whole_json("```json\n{\"a\":1}\n```").unwrap(), json!({"a": 1}));
        assert!(whole_json("so: {}").is_err());
    }

    proptest! {
        #[test]
        fn no_text_is_a_panic(text in ".{0,60}") {
            let _ = object_at_start(&text);
            let _ = whole_json(&text);
        }
    }
}
