//! A chat model without a network: answers the built-in prompts from the tuning rules.
//!
//! It reads the typed facts behind a prompt, never its prose, and calls the same tools a model would.

mod facts;
mod goal;
mod propose;
mod report;
mod understand;

use async_trait::async_trait;
use serde_json::Value;

use crate::llm::{ChatModel, ChatReply, ChatRequest, Error, Message, Sink, ToolCall, Usage};

pub use goal::{Unreadable, read_goal};

/// The built-in expert: deterministic, free, offline.
#[derive(Debug, Default, Clone, Copy)]
pub struct Expert;

/// What the expert does next.
enum Move {
    /// Ask a tool.
    Call(&'static str, Value),
    /// Enough seen.
    Stop,
}

#[async_trait]
impl ChatModel for Expert {
    fn name(&self) -> String {
        "expert".to_owned()
    }

    async fn chat(&self, request: &ChatRequest, _sink: &dyn Sink) -> Result<ChatReply, Error> {
        if request.output.is_some() {
            return Ok(reply(answer(request)?.to_string(), None));
        }
        Ok(match next_move(request)? {
            Move::Stop => reply(String::new(), None),
            Move::Call(name, arguments) => {
                let id = format!("expert-{}", request.messages.len());
                reply(String::new(), Some(ToolCall { id, name: name.to_owned(), arguments }))
            }
        })
    }
}

fn next_move(request: &ChatRequest) -> Result<Move, Error> {
    match request.prompt.as_str() {
        "understand.md" => Ok(understand::next_move(request)),
        "diagnose.md" => Ok(match last_result(request, "explain_bottleneck") {
            Some(_) => Move::Stop,
            None => Move::Call(
                "explain_bottleneck",
                serde_json::json!({
                    "objective": facts::value(request, "objective"),
                    "window_s": window_s(request),
                }),
            ),
        }),
        "propose.md" => Ok(propose::next_move(request)),
        "report.md" => Ok(Move::Stop),
        other => Err(no_rule(other)),
    }
}

/// The window that the observation was made over, as far as the tool takes it [s].
fn window_s(request: &ChatRequest) -> u64 {
    let seen = facts::value(request, "observation");
    seen["window_s"].as_f64().map_or(60, |window_s| (window_s.round() as u64).clamp(10, 600))
}

fn answer(request: &ChatRequest) -> Result<Value, Error> {
    match request.prompt.as_str() {
        "understand.md" => understand::answer(request),
        "diagnose.md" => result_or_error(request, "explain_bottleneck"),
        "propose.md" => propose::answer(request),
        "report.md" => Ok(report::answer(request)),
        other => Err(no_rule(other)),
    }
}

fn no_rule(prompt: &str) -> Error {
    Error::NoRule { model: "expert".to_owned(), prompt: prompt.to_owned() }
}

fn reply(content: String, call: Option<ToolCall>) -> ChatReply {
    ChatReply {
        content,
        reasoning: None,
        tool_calls: call.into_iter().collect(),
        usage: Usage::default(),
        model: "expert".to_owned(),
    }
}

/// The newest result of a tool in this conversation.
fn last_result(request: &ChatRequest, tool: &str) -> Option<Value> {
    request.messages.iter().rev().find_map(|message| match message {
        Message::Tool { name, content, .. } if name == tool => serde_json::from_str(content).ok(),
        _ => None,
    })
}

/// The newest result; a tool's error is passed on in its own words.
fn result_or_error(request: &ChatRequest, tool: &str) -> Result<Value, Error> {
    let unusable = |detail: String| Error::Unusable { model: "expert".to_owned(), detail };
    let result = last_result(request, tool)
        .ok_or_else(|| unusable(format!("`{tool}` gave no result, and the expert needs one")))?;
    match result.get("error") {
        Some(problem) => {
            let text = problem.get("message").and_then(Value::as_str).unwrap_or("unknown error");
            Err(unusable(format!("`{tool}` failed: {text}")))
        }
        None => Ok(result),
    }
}
