//! Chat models behind one trait.

mod chat;
mod error;

pub use chat::{
    ChatModel, ChatReply, ChatRequest, Message, OutputSpec, Sink, ToolCall, ToolSpec, Usage,
};
pub use error::Error;
