//! From what a model wrote to a call of a tool that exists, or to words that tell the model what is wrong.

use serde_json::Value;

use super::arguments::{object_at_start, whole_json};
use super::schema::check;
use crate::base::stable_hash;
use crate::llm::{ToolCall, ToolSpec};

/// A call as written: name and arguments still raw.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct RawCall {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) arguments: String,
}

/// The tool that `raw` names, or what to tell the model.
///
/// gpt-oss writes `functions.x`, `x<|channel|>commentary` and names without their first word.
pub(super) fn find_tool<'a>(raw: &str, tools: &'a [ToolSpec]) -> Result<&'a ToolSpec, String> {
    let name = raw.split("<|").next().unwrap_or_default().trim();
    let flat = ["functions.", "function.", "tools.", "tool."]
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix))
        .unwrap_or(name);
    if let Some(tool) = tools.iter().find(|tool| tool.name == flat) {
        return Ok(tool);
    }
    let suffix = format!("_{flat}");
    let mut longer = tools.iter().filter(|tool| !flat.is_empty() && tool.name.ends_with(&suffix));
    match (longer.next(), longer.next()) {
        (Some(tool), None) => Ok(tool),
        _ => Err(format!("there is no tool named `{}`; {}", bounded(raw), valid_names(tools))),
    }
}

/// Reads a call that came as a call. Its arguments are validated where it is made; here they must be an object.
pub(super) fn read_call(raw: &RawCall, tools: &[ToolSpec]) -> Result<ToolCall, String> {
    let tool = find_tool(&raw.name, tools)?;
    let arguments = object_at_start(&raw.arguments)
        .map_err(|fault| format!("call of `{}`: {fault}", tool.name))?;
    // A name we had to complete is only believed when the arguments fit as well.
    if !raw.name.contains(&tool.name) {
        check(&tool.parameters, &arguments)
            .map_err(|fault| format!("`{}` is not a tool name, and {fault}", bounded(&raw.name)))?;
    }
    Ok(ToolCall { id: raw.id.clone(), name: tool.name.clone(), arguments })
}

/// Finds the call in text that should have been one; `None` when the text holds no attempt at a call.
///
/// Known shapes: `to=functions.x … {…}`, `<function=x>{…}`, `{"name": …, "arguments": {…}}` and a list or
/// `{"tool_calls": […]}` of it. Only a call that fits the tool's schema is believed.
pub(super) fn salvage(text: &str, tools: &[ToolSpec]) -> Option<Result<ToolCall, String>> {
    let raw = addressed(text).or_else(|| tagged(text)).or_else(|| as_object(text))?;
    Some(read_call(&raw, tools).and_then(|call| fits(call, tools)))
}

fn fits(call: ToolCall, tools: &[ToolSpec]) -> Result<ToolCall, String> {
    let tool = find_tool(&call.name, tools)?;
    check(&tool.parameters, &call.arguments)
        .map_err(|fault| format!("arguments of `{}`: {fault}", tool.name))?;
    Ok(call)
}

/// `<|channel|>commentary to=functions.x <|constrain|>json<|message|>{…}` with or without the control tokens.
fn addressed(text: &str) -> Option<RawCall> {
    let (_, rest) = text.split_once("to=functions.").or_else(|| text.split_once("to=tools."))?;
    let name_end = rest.find(|char: char| !is_name(char)).unwrap_or(rest.len());
    let (name, rest) = rest.split_at(name_end);
    let arguments = rest.find('{').map_or("", |start| &rest[start..]);
    Some(RawCall { id: String::new(), name: name.to_owned(), arguments: arguments.to_owned() })
}

/// `<function=x>{…}</function>` and `<function=x{…}`.
fn tagged(text: &str) -> Option<RawCall> {
    let (_, rest) = text.split_once("<function=")?;
    let name_end = rest.find(|char: char| !is_name(char)).unwrap_or(rest.len());
    let arguments = rest.find('{').map_or("", |start| &rest[start..]);
    Some(RawCall {
        id: String::new(),
        name: rest[..name_end].to_owned(),
        arguments: arguments.to_owned(),
    })
}

fn as_object(text: &str) -> Option<RawCall> {
    let inner = text.trim().trim_start_matches("<tool-use>").trim_end_matches("</tool-use>");
    let inner = inner.trim().trim_start_matches("<tool_call>").trim_end_matches("</tool_call>");
    let value = whole_json(inner).ok()?;
    let value = value.get("tool_calls").cloned().unwrap_or(value);
    let value = match value {
        Value::Array(mut calls) if !calls.is_empty() => calls.swap_remove(0),
        value => value,
    };
    let call = value.get("function").filter(|function| function.is_object()).unwrap_or(&value);
    let arguments = call.get("arguments").or_else(|| call.get("parameters"))?;
    let name = call.get("name")?.as_str()?;
    Some(RawCall { id: String::new(), name: name.to_owned(), arguments: as_text(arguments) })
}

/// Arguments as the text that the protocol wants; some servers and models give the object.
pub(super) fn as_text(arguments: &Value) -> String {
    arguments.as_str().map_or_else(|| arguments.to_string(), str::to_owned)
}

/// Tells the model what it may call. Names are ours; the model's own word is quoted by the caller.
pub(super) fn valid_names(tools: &[ToolSpec]) -> String {
    if tools.is_empty() {
        return "no tools are on offer, answer in text".to_owned();
    }
    let names: Vec<String> = tools.iter().map(|tool| format!("`{}`", tool.name)).collect();
    format!("the tools are {}", names.join(", "))
}

/// Gives calls without an id one that no other call of the conversation has, and that a replay finds again.
pub(super) fn name_the_nameless(calls: &mut [ToolCall], messages_before: usize) {
    for (index, call) in calls.iter_mut().enumerate().filter(|(_, call)| call.id.is_empty()) {
        let place = format!("{messages_before}/{index}");
        let hash = stable_hash(&[&place, &call.name, &call.arguments.to_string()]);
        call.id = format!("call_{}", &hash[..12]);
    }
}

fn is_name(char: char) -> bool {
    char.is_ascii_alphanumeric() || char == '_' || char == '-'
}

fn bounded(text: &str) -> String {
    text.chars().filter(|char| !char.is_control() && *char != '`').take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn tools() -> Vec<ToolSpec> {
        let schema = |name: &str| {
            json!({"type": "object", "properties": {name: {"type": "integer", "minimum": 10}},
                "required": [name], "additionalProperties": false})
        };
        let tool = |name: &str, parameters| ToolSpec {
            name: name.to_owned(),
            description: String::new(),
            parameters,
        };
        vec![tool("read_metrics", schema("window_s")), tool("start_rollout", schema("percent"))]
    }

    fn name_of(raw: &str) -> Result<String, String> {
        find_tool(raw, &tools()).map(|tool| tool.name.clone())
    }

    #[test]
    fn the_known_spellings_are_normalised() {
        for raw in [
            "read_metrics",
            "functions.read_metrics",
            "read_metrics<|channel|>commentary",
            "functions.read_metrics<|constrain|>json",
            " read_metrics ",
            "metrics",
        ] {
            assert_eq!(name_of(raw).as_deref(), Ok("read_metrics"), "{raw}");
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_valid_ones() {
        let fault = name_of("container.exec").unwrap_err();
        assert_eq!(
            fault,
            "there is no tool named `container.exec`; the tools are `read_metrics`, `start_rollout`"
        );
        for raw in ["json", "", "exec", "_"] {
            assert!(name_of(raw).is_err(), "{raw}");
        }
    }

    #[test]
    fn a_shortened_name_is_believed_only_with_fitting_arguments() {
        let raw = |arguments: &str| RawCall {
            id: "c".to_owned(),
            name: "rollout".to_owned(),
            arguments: arguments.to_owned(),
        };
        assert!(read_call(&raw(r#"{"percent": 25}"#), &tools()).is_ok());
        assert!(read_call(&raw(r#"{"window_s": 25}"#), &tools()).is_err());
    }

    #[test]
    fn a_written_call_is_found_in_every_known_shape() {
        for text in [
            r#"<|channel|>commentary to=functions.read_metrics <|constrain|>json<|message|>{"window_s":60}<|call|>"#,
            r#"commentary to=functions.read_metrics json {"window_s": 60}"#,
            r#"<function=read_metrics>{"window_s": 60}</function>"#,
            r#"{"name": "read_metrics", "arguments": {"window_s": 60}}"#,
            r#"[{"name": "functions.read_metrics", "parameters": {"window_s": 60}}]"#,
            "<tool-use>\n{\"tool_calls\": [{\"id\": \"p\", \"type\": \"function\", \"function\": \
             {\"name\": \"read_metrics\", \"arguments\": \"{\\\"window_s\\\": 60}\"}}]}\n</tool-use>",
        ] {
            let call = salvage(text, &tools()).unwrap().unwrap();
            assert_eq!(
                (call.name.as_str(), &call.arguments),
                ("read_metrics", &json!({"window_s": 60}))
            );
        }
    }

    #[test]
    fn a_written_call_that_does_not_validate_is_told_why() {
        let fault =
            salvage(r#"to=functions.read_metrics {"window_s": 1}"#, &tools()).unwrap().unwrap_err();
        assert!(fault.starts_with("arguments of `read_metrics`: at `/window_s`"), "{fault}");
    }

    #[test]
    fn prose_is_no_call() {
        assert_eq!(salvage("I would read the metrics first.", &tools()), None);
        assert_eq!(salvage(r#"{"name": "x"}"#, &tools()), None);
    }

    #[test]
    fn made_up_ids_are_the_same_in_a_replay_and_differ_within_a_conversation() {
        let text = r#"{"name": "read_metrics", "arguments": {"window_s": 60}}"#;
        let call = salvage(text, &tools()).unwrap().unwrap();
        let ids = |messages_before| {
            let mut calls = [call.clone(), call.clone()];
            name_the_nameless(&mut calls, messages_before);
            calls.map(|call| call.id)
        };
        assert_eq!(ids(3), ids(3));
        assert_ne!(ids(3)[0], ids(3)[1]);
        assert_ne!(ids(3)[0], ids(5)[0]);
    }
}
