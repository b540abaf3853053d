//! Judges a draft: a usable reply, or words that tell the model what to do better.

use serde_json::Value;

use super::arguments::whole_json;
use super::assembly::Draft;
use super::calls::{RawCall, name_the_nameless, read_call, salvage, valid_names};
use super::failure::Failure;
use super::price::cost_usd;
use super::request::Ask;
use super::schema::check;
use crate::llm::{ChatReply, ChatRequest, Message, OutputSpec, ToolCall, Usage};

/// Bytes that a token stands for when a server does not count tokens; English text has about four.
const BYTES_PER_TOKEN: u64 = 4;

/// What a draft turned out to be, before it is priced.
#[derive(Debug, PartialEq)]
pub(super) struct Answer {
    content: String,
    calls: Vec<ToolCall>,
}

/// True for a model that spent all its tokens thinking: asked to think less, it may answer.
pub(super) fn only_thought(draft: &Draft) -> bool {
    draft.finish_reason.as_deref() == Some("length")
        && draft.content.trim().is_empty()
        && draft.calls.is_empty()
        && !draft.reasoning.is_empty()
}

/// Judges `draft` by what was asked.
///
/// Errors: [`Failure::Unusable`], its words fit to be shown to the model.
pub(super) fn judge(draft: &Draft, request: &ChatRequest, ask: Ask) -> Result<Answer, Failure> {
    let reason = draft.finish_reason.as_deref().unwrap_or_default();
    if reason == "length" {
        let tokens = request.completion_tokens_max;
        return Err(Failure::unusable(format!(
            "the answer was cut off at {tokens} tokens; think and answer in fewer words"
        )));
    }
    if reason == "content_filter" {
        return Err(Failure::unusable("the provider's content filter withheld the answer"));
    }
    match (ask, &request.output) {
        (Ask::Output, Some(output)) => typed(draft, output),
        _ => called_or_said(draft, request),
    }
}

/// What the server itself could not read (`tool_use_failed`, `json_validate_failed`) may still be good enough for us.
pub(super) fn from_failed_generation(
    generation: &str,
    detail: &str,
    request: &ChatRequest,
    ask: Ask,
) -> Result<Answer, Failure> {
    if let (Ask::Output, Some(output)) = (ask, &request.output) {
        let draft = Draft { content: generation.to_owned(), ..Draft::default() };
        return typed(&draft, output);
    }
    match salvage(generation, &request.tools) {
        Some(Ok(call)) => Ok(with_calls(String::new(), vec![call], request)),
        Some(Err(fault)) => Err(Failure::unusable(fault)),
        None => {
            let names = valid_names(&request.tools);
            Err(Failure::unusable(format!("the call could not be read ({detail}); {names}")))
        }
    }
}

fn called_or_said(draft: &Draft, request: &ChatRequest) -> Result<Answer, Failure> {
    if !draft.calls.is_empty() {
        let calls = draft.calls.iter().map(|call| named_call(call, request));
        let calls = calls.collect::<Result<Vec<_>, _>>().map_err(Failure::unusable)?;
        return Ok(with_calls(draft.content.clone(), calls, request));
    }
    if draft.content.trim().is_empty() {
        let words = "the answer is empty; write it, or a call, outside of the reasoning";
        return Err(Failure::unusable(words));
    }
    if request.tools.is_empty() {
        return Ok(Answer { content: draft.content.clone(), calls: Vec::new() });
    }
    match salvage(&draft.content, &request.tools) {
        Some(Ok(call)) => Ok(with_calls(String::new(), vec![call], request)),
        Some(Err(fault)) => Err(Failure::unusable(fault)),
        None => Ok(Answer { content: draft.content.clone(), calls: Vec::new() }),
    }
}

/// A tool named `json` is how gpt-oss wraps a call it means for another; look inside before refusing.
fn named_call(call: &RawCall, request: &ChatRequest) -> Result<ToolCall, String> {
    match read_call(call, &request.tools) {
        Err(fault) if call.name == "json" => {
            let inner = salvage(&call.arguments, &request.tools).unwrap_or(Err(fault))?;
            Ok(ToolCall { id: call.id.clone(), ..inner })
        }
        read => read,
    }
}

fn with_calls(content: String, mut calls: Vec<ToolCall>, request: &ChatRequest) -> Answer {
    name_the_nameless(&mut calls, request.messages.len());
    Answer { content, calls }
}

fn typed(draft: &Draft, output: &OutputSpec) -> Result<Answer, Failure> {
    // gpt-oss sometimes answers a schema with a call of a tool named after it.
    let text = match draft.calls.as_slice() {
        [] => draft.content.as_str(),
        [call] if call.name == "json" || call.name == output.name => call.arguments.as_str(),
        _ => return Err(Failure::unusable("no tools are on offer, answer in the wanted form")),
    };
    let value = fitting(text, output).map_err(Failure::unusable)?;
    Ok(Answer { content: value.to_string(), calls: Vec::new() })
}

/// The JSON of `text` when it fits.
fn fitting(text: &str, output: &OutputSpec) -> Result<Value, String> {
    if text.trim().is_empty() {
        return Err(format!("the answer is empty; answer with the JSON of `{}`", output.name));
    }
    let value = whole_json(text).map_err(|error| format!("the answer is no JSON: {error}"))?;
    check(&output.schema, &value)
        .map_err(|fault| format!("the answer does not fit `{}`: {fault}", output.name))?;
    Ok(value)
}

impl Answer {
    /// True when it can be handed over: calls to make, or content in the wanted form if one is wanted.
    ///
    /// Content that already fits is rewritten as plain JSON, without what stood around it.
    pub(super) fn settles(&mut self, output: Option<&OutputSpec>) -> bool {
        let Some(output) = output.filter(|_| self.calls.is_empty()) else { return true };
        match fitting(&self.content, output) {
            Ok(value) => {
                self.content = value.to_string();
                true
            }
            Err(_) => false,
        }
    }

    /// The text, to be followed by the question for the wanted form.
    pub(super) fn content(&self) -> &str {
        &self.content
    }

    /// The reply, with what it took.
    pub(super) fn into_reply(self, reasoning: String, usage: Usage, model: String) -> ChatReply {
        ChatReply {
            content: self.content,
            reasoning: (!reasoning.is_empty()).then_some(reasoning),
            tool_calls: self.calls,
            usage,
            model,
        }
    }
}

/// What a draft took. A server that does not count is estimated from the bytes, so that budgets still hold.
pub(super) fn usage_of(draft: &Draft, request: &ChatRequest, model: &str, billed: bool) -> Usage {
    let mut usage = match &draft.usage {
        Some(wire) => Usage {
            input_tokens: wire.prompt_tokens,
            cached_tokens: wire
                .prompt_tokens_details
                .as_ref()
                .and_then(|details| details.cached_tokens)
                .unwrap_or(0),
            output_tokens: wire.completion_tokens,
            cost_usd: 0.0,
        },
        None => estimated(draft, request),
    };
    if billed {
        usage.cost_usd = cost_usd(model, &usage);
    }
    usage
}

fn estimated(draft: &Draft, request: &ChatRequest) -> Usage {
    let calls: usize = draft.calls.iter().map(|call| call.name.len() + call.arguments.len()).sum();
    let written = draft.content.len() + draft.reasoning.len() + calls;
    let messages: usize = request.messages.iter().map(message_bytes).sum();
    let tools: usize = request
        .tools
        .iter()
        .map(|tool| tool.name.len() + tool.description.len() + tool.parameters.to_string().len())
        .sum();
    let tokens = |bytes: usize| (bytes as u64).div_ceil(BYTES_PER_TOKEN);
    Usage {
        input_tokens: tokens(messages + tools),
        output_tokens: tokens(written),
        ..Usage::default()
    }
}

fn message_bytes(message: &Message) -> usize {
    match message {
        Message::System { content } | Message::User { content } | Message::Tool { content, .. } => {
            content.len()
        }
        Message::Assistant { content, reasoning, tool_calls } => {
            let calls: usize = tool_calls.iter().map(|call| call.arguments.to_string().len()).sum();
            content.len() + reasoning.as_ref().map_or(0, String::len) + calls
        }
    }
}

/// Both together, for an answer that took two generations.
pub(super) fn sum(first: Usage, second: Usage) -> Usage {
    Usage {
        input_tokens: first.input_tokens + second.input_tokens,
        cached_tokens: first.cached_tokens + second.cached_tokens,
        output_tokens: first.output_tokens + second.output_tokens,
        cost_usd: first.cost_usd + second.cost_usd,
    }
}
