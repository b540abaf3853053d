//! One question to a model and its answer, in our own words: no provider's wire types.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Error;

/// A model that can chat, call tools and answer in a schema.
#[async_trait]
pub trait ChatModel: Send + Sync {
    /// For reports: `openai/gpt-oss-20b`, `expert`.
    fn name(&self) -> String;

    /// One generation. With `tools`, the reply may hold calls; with `output`, its content is JSON that fits the schema.
    async fn chat(&self, request: &ChatRequest, sink: &dyn Sink) -> Result<ChatReply, Error>;
}

/// Receives a reply while it is being written.
pub trait Sink: Send + Sync {
    /// More of the content.
    fn content(&self, _delta: &str) {}
    /// More of the reasoning.
    fn reasoning(&self, _delta: &str) {}
    /// What came so far is void: the attempt failed and the answer begins anew.
    fn restart(&self) {}
}

/// A sink that drops everything.
impl Sink for () {}

/// One question.
#[derive(Debug, Clone, PartialEq)]
pub struct ChatRequest {
    /// Which prompt this is: `diagnose.md`.
    pub prompt: String,
    /// The conversation: system first, then the user's state, then calls and results.
    pub messages: Vec<Message>,
    /// Tools on offer, in a stable order.
    pub tools: Vec<ToolSpec>,
    /// Wanted form of the answer; never together with `tools` on the wire.
    pub output: Option<OutputSpec>,
    /// The typed channel values the prompt was rendered from. Never leaves the process.
    pub facts: BTreeMap<String, Value>,
    /// Longest answer [tokens]; it is reserved against the provider's token rate.
    pub completion_tokens_max: u32,
}

/// One message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "role")]
pub enum Message {
    /// Standing instructions.
    System {
        /// Text.
        content: String,
    },
    /// The state to work on.
    User {
        /// Text.
        content: String,
    },
    /// What the model said.
    Assistant {
        /// Text, may be empty.
        content: String,
        /// Its reasoning, sent back while a tool loop is open.
        reasoning: Option<String>,
        /// Calls it wants made.
        tool_calls: Vec<ToolCall>,
    },
    /// What a tool answered.
    Tool {
        /// Id of the call.
        call_id: String,
        /// Name of the tool.
        name: String,
        /// Result or error, as JSON text.
        content: String,
    },
}

/// A tool as a model sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolSpec {
    /// Flat snake_case name.
    pub name: String,
    /// What the model is told.
    pub description: String,
    /// JSON Schema of the arguments.
    pub parameters: Value,
}

/// The wanted form of an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutputSpec {
    /// Name of the type.
    pub name: String,
    /// Its JSON Schema.
    pub schema: Value,
}

/// A call a model wants made. Not yet validated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    /// The provider's id of the call.
    pub id: String,
    /// Name, normalised.
    pub name: String,
    /// Arguments.
    pub arguments: Value,
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChatReply {
    /// Text; JSON when `output` was asked.
    pub content: String,
    /// Reasoning, if the provider shows it.
    pub reasoning: Option<String>,
    /// Calls to make.
    pub tool_calls: Vec<ToolCall>,
    /// What it took.
    pub usage: Usage,
    /// Model that answered, as it names itself.
    pub model: String,
}

/// Tokens and cost of one generation; estimated from the text where a server does not count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// Prompt tokens.
    pub input_tokens: u64,
    /// Of these, found in the provider's cache.
    pub cached_tokens: u64,
    /// Answer tokens, reasoning included.
    pub output_tokens: u64,
    /// Cost at list price [USD]; 0 for local models.
    pub cost_usd: f64,
}
