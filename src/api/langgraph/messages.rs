//! What models write, as LangChain's messages: put together from the deltas in a run's journal.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::protocol::message_id;
use crate::base::RunId;

/// What models are writing, by node.
#[derive(Default)]
pub(super) struct Talks {
    open: HashMap<String, Talk>,
}

struct Talk {
    id: String,
    text: String,
}

/// A piece of a message.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Piece {
    pub(super) id: String,
    /// The first of its message.
    pub(super) first: bool,
    /// The last, which adds nothing to the text.
    last: bool,
    text: String,
    /// The message so far.
    whole: String,
    /// Name of the model, and what it used; known at the end.
    model: Value,
    usage: Value,
}

impl Talks {
    /// What an entry of the journal adds to a message; `seq`: its number.
    pub(super) fn hear(
        &mut self,
        run: &RunId,
        seq: u64,
        node: &str,
        data: &Value,
    ) -> Option<Piece> {
        if let Some(text) = data["content"].as_str() {
            let first = !self.open.contains_key(node);
            let talk = self.open.entry(node.to_owned()).or_insert_with(|| Talk {
                // The entry that it begins with tells it from every other.
                id: message_id(run.as_str(), seq),
                text: String::new(),
            });
            talk.text.push_str(text);
            let (id, whole) = (talk.id.clone(), talk.text.clone());
            let text = text.to_owned();
            let (model, usage) = (Value::Null, Value::Null);
            return Some(Piece { id, first, last: false, text, whole, model, usage });
        }
        let model = data.get("model").filter(|model| model.is_object())?;
        // One that was remembered was sent when it was written.
        let Talk { id, text } = self.open.remove(node)?;
        Some(Piece {
            id,
            first: false,
            last: true,
            text: String::new(),
            whole: text,
            model: model["name"].clone(),
            usage: usage(&model["usage"]),
        })
    }

    /// A node begins anew: what its model wrote before was in vain.
    pub(super) fn forget(&mut self, node: &str) {
        self.open.remove(node);
    }
}

fn usage(used: &Value) -> Value {
    let (input, output) = (used["input_tokens"].as_u64(), used["output_tokens"].as_u64());
    match (input, output) {
        (Some(input), Some(output)) => json!({
            "input_tokens": input,
            "output_tokens": output,
            "total_tokens": input.saturating_add(output),
        }),
        _ => Value::Null,
    }
}

impl Piece {
    /// As a chunk.
    pub(super) fn chunk(&self) -> Value {
        let mut chunk = self.message("AIMessageChunk", &self.text);
        chunk["tool_call_chunks"] = json!([]);
        chunk["chunk_position"] = if self.last { json!("last") } else { Value::Null };
        chunk
    }

    /// The message so far, with the name of the event that carries it.
    pub(super) fn so_far(&self) -> (&'static str, Value) {
        let event = if self.last { "messages/complete" } else { "messages/partial" };
        (event, json!([self.message("ai", &self.whole)]))
    }

    fn message(&self, kind: &str, text: &str) -> Value {
        let about = match &self.model {
            Value::Null => json!({}),
            name => json!({"model_name": name}),
        };
        json!({
            "content": text,
            "additional_kwargs": {},
            "response_metadata": about,
            "type": kind,
            "name": null,
            "id": self.id,
            "tool_calls": [],
            "invalid_tool_calls": [],
            "usage_metadata": self.usage,
        })
    }
}
