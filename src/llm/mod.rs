//! Chat models behind one trait.

mod chat;
mod error;
mod openai;
mod scripted;

pub use chat::{
    ChatModel, ChatReply, ChatRequest, Message, OutputSpec, Sink, ToolCall, ToolSpec, Usage,
};
pub use error::Error;
pub use openai::{OpenAi, OpenAiOptions, Probe};
pub use scripted::Scripted;
