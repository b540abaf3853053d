//! What we send. Nothing optional that a server might not know: no `service_tier`, no sampling settings.

use serde::Serialize;
use serde_json::Value;

use super::schema::strict;
use crate::llm::{ChatRequest, Message, OutputSpec, ToolCall, ToolSpec};

/// Name under which a server shows reasoning, and wants it back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum ReasoningField {
    /// Groq, vLLM.
    #[default]
    Reasoning,
    /// llama.cpp, older vLLM.
    ReasoningContent,
}

/// What a generation may produce: calls or a typed answer, never both (Groq refuses the two together).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    /// Tools on offer, or plain text when there are none.
    Tools,
    /// An answer in the wanted form.
    Output,
}

/// The body of `POST /chat/completions`. System prompt and tools come first and unchanged, so the prefix stays cached.
#[derive(Debug, Serialize)]
pub(super) struct WireRequest<'a> {
    model: &'a str,
    messages: Vec<WireMessage<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<WireTool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<ResponseFormat<'a>>,
    /// Reserved against the provider's tokens per minute before the call.
    max_completion_tokens: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_effort: Option<&'static str>,
    stream: bool,
    stream_options: StreamOptions,
}

#[derive(Debug, Serialize)]
struct StreamOptions {
    include_usage: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase", tag = "role")]
enum WireMessage<'a> {
    System {
        content: &'a str,
    },
    User {
        content: &'a str,
    },
    Assistant {
        content: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        reasoning: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        reasoning_content: Option<&'a str>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        tool_calls: Vec<WireCall<'a>>,
    },
    Tool {
        tool_call_id: &'a str,
        name: &'a str,
        content: &'a str,
    },
}

#[derive(Debug, Serialize)]
struct WireCall<'a> {
    id: &'a str,
    r#type: &'static str,
    function: WireCallFunction<'a>,
}

#[derive(Debug, Serialize)]
struct WireCallFunction<'a> {
    name: &'a str,
    /// JSON as text, as the protocol wants it.
    arguments: String,
}

#[derive(Debug, Serialize)]
struct WireTool<'a> {
    r#type: &'static str,
    function: WireToolFunction<'a>,
}

#[derive(Debug, Serialize)]
struct WireToolFunction<'a> {
    name: &'a str,
    description: &'a str,
    parameters: &'a Value,
}

#[derive(Debug, Serialize)]
struct ResponseFormat<'a> {
    r#type: &'static str,
    json_schema: JsonSchema<'a>,
}

#[derive(Debug, Serialize)]
struct JsonSchema<'a> {
    name: &'a str,
    strict: bool,
    schema: Value,
}

impl<'a> WireRequest<'a> {
    /// Writes `request` for the wire. `effort` goes only to models that are known to take it.
    pub(super) fn new(
        request: &'a ChatRequest,
        model: &'a str,
        ask: Ask,
        field: ReasoningField,
        effort: Option<&'static str>,
    ) -> Self {
        let wants_output = ask == Ask::Output;
        Self {
            model,
            messages: wire_messages(&request.messages, field),
            tools: if wants_output { Vec::new() } else { request.tools.iter().map(tool).collect() },
            response_format: request.output.as_ref().filter(|_| wants_output).map(response_format),
            max_completion_tokens: request.completion_tokens_max,
            reasoning_effort: effort,
            stream: true,
            stream_options: StreamOptions { include_usage: true },
        }
    }
}

fn wire_messages(messages: &[Message], field: ReasoningField) -> Vec<WireMessage<'_>> {
    // The tool loop is open since the last thing that was said to the model.
    let open_since = messages.iter().rposition(|m| matches!(m, Message::User { .. })).unwrap_or(0);
    messages
        .iter()
        .enumerate()
        .map(|(index, message)| match message {
            Message::System { content } => WireMessage::System { content },
            Message::User { content } => WireMessage::User { content },
            Message::Assistant { content, reasoning, tool_calls } => {
                // Older reasoning only costs tokens; within the loop, quality drops without it.
                let wanted = index > open_since && !tool_calls.is_empty();
                let reasoning = reasoning.as_deref().filter(|_| wanted);
                WireMessage::Assistant {
                    content,
                    reasoning: reasoning.filter(|_| field == ReasoningField::Reasoning),
                    reasoning_content: reasoning
                        .filter(|_| field == ReasoningField::ReasoningContent),
                    tool_calls: tool_calls.iter().map(call).collect(),
                }
            }
            Message::Tool { call_id, name, content } => {
                WireMessage::Tool { tool_call_id: call_id, name, content }
            }
        })
        .collect()
}

fn call(call: &ToolCall) -> WireCall<'_> {
    let arguments = call.arguments.to_string();
    let function = WireCallFunction { name: &call.name, arguments };
    WireCall { id: &call.id, r#type: "function", function }
}

fn tool(tool: &ToolSpec) -> WireTool<'_> {
    WireTool {
        r#type: "function",
        function: WireToolFunction {
            name: &tool.name,
            description: &tool.description,
            parameters: &tool.parameters,
        },
    }
}

fn response_format(output: &OutputSpec) -> ResponseFormat<'_> {
    let (schema, strict) = strict(&output.schema);
    ResponseFormat {
        r#type: "json_schema",
        json_schema: JsonSchema { name: &output.name, strict, schema },
    }
}
