//! Answers on the wire: server-sent chunks, or one JSON object.

use serde_json::{Value, json};

use super::ask::Form;
use crate::serving::simulated::counters::Reason;

/// What a simulated model says: one token each.
const WORDS: [&str; 12] = [
    "the", "quiet", "river", "moves", "past", "every", "stone", "and", "never", "asks", "its",
    "way",
];

/// Writes one request's answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) form: Form,
    /// `chatcmpl-…` or `cmpl-…`.
    pub(super) id: String,
    /// When it was asked for [s since the Unix epoch].
    pub(super) created: u64,
    pub(super) model: String,
    pub(super) input_tokens: u32,
    pub(super) include_usage: bool,
    /// Tokens said so far.
    pub(super) tokens: u32,
}

impl Answer {
    /// The next token as events; a chat's first one is preceded by its role.
    pub(super) fn token(&mut self) -> String {
        let text = word(self.tokens);
        let first = self.tokens == 0;
        self.tokens += 1;
        match self.form {
            Form::Completion => {
                event(&self.chunk(
                    json!({"index": 0, "text": text, "logprobs": null, "finish_reason": null}),
                ))
            }
            Form::Chat => {
                let delta = |delta: Value| {
                    event(&self.chunk(json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": null})))
                };
                let role = if first {
                    delta(json!({"role": "assistant", "content": ""}))
                } else {
                    String::new()
                };
                role + &delta(json!({"content": text}))
            }
        }
    }

    /// The end of a stream: finish reason, usage if it was asked for, `[DONE]`.
    pub(super) fn end(&self, reason: Reason, cached_tokens: u32) -> String {
        let finish_reason = name(reason);
        let choice = match self.form {
            Form::Chat => {
                json!({"index": 0, "delta": {}, "logprobs": null, "finish_reason": finish_reason})
            }
            Form::Completion => {
                json!({"index": 0, "text": "", "logprobs": null, "finish_reason": finish_reason})
            }
        };
        let mut text = event(&self.chunk(choice));
        if self.include_usage {
            let mut last = self.head(true);
            last["choices"] = json!([]);
            last["usage"] = self.usage(cached_tokens);
            text += &event(&last);
        }
        text + "data: [DONE]\n\n"
    }

    /// The whole answer at once.
    pub(super) fn whole(&self, reason: Reason, cached_tokens: u32) -> Value {
        let text: String = (0..self.tokens).map(word).collect();
        let finish_reason = name(reason);
        let choice = match self.form {
            Form::Chat => {
                json!({"index": 0, "message": {"role": "assistant", "content": text}, "logprobs": null, "finish_reason": finish_reason})
            }
            Form::Completion => {
                json!({"index": 0, "text": text, "logprobs": null, "finish_reason": finish_reason})
            }
        };
        let mut answer = self.head(false);
        answer["choices"] = json!([choice]);
        answer["usage"] = self.usage(cached_tokens);
        answer
    }

    fn chunk(&self, choice: Value) -> Value {
        let mut chunk = self.head(true);
        chunk["choices"] = json!([choice]);
        chunk
    }

    fn head(&self, streamed: bool) -> Value {
        let object = match (self.form, streamed) {
            (Form::Chat, true) => "chat.completion.chunk",
            (Form::Chat, false) => "chat.completion",
            (Form::Completion, _) => "text_completion",
        };
        json!({"id": self.id, "object": object, "created": self.created, "model": self.model})
    }

    fn usage(&self, cached_tokens: u32) -> Value {
        json!({
            "prompt_tokens": self.input_tokens,
            "total_tokens": u64::from(self.input_tokens) + u64::from(self.tokens),
            "completion_tokens": self.tokens,
            "prompt_tokens_details": {"cached_tokens": cached_tokens},
        })
    }
}

fn event(data: &Value) -> String {
    format!("data: {data}\n\n")
}

fn name(reason: Reason) -> &'static str {
    match reason {
        Reason::Stop => "stop",
        Reason::Length => "length",
    }
}

fn word(number: u32) -> String {
    let word = WORDS[number as usize % WORDS.len()];
    if number == 0 { word.to_owned() } else { format!(" {word}") }
}
