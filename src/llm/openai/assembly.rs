//! A streamed answer put together: pieces in, one whole draft out, or the reason why it is not whole.

use std::sync::Arc;

use async_openai::types::stream::StreamResponse;
use futures::StreamExt;
use futures::future::{Either, select};
use serde_json::Value;

use super::calls::{RawCall, as_text};
use super::chunk::{CallDelta, Choice, Chunk, Delta, WireUsage, error_in};
use super::endpoint::Endpoint;
use super::failure::{Failure, classify_event};
use super::request::ReasoningField;
use super::transport::into_failure;
use crate::base::Clock;
use crate::llm::Sink;

/// Longest answer that is put together, calls and reasoning included [bytes].
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// Most calls in one answer.
const CALLS_MAX: usize = 64;

/// A whole answer, not yet judged.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub(super) content: String,
    pub(super) reasoning: String,
    pub(super) calls: Vec<RawCall>,
    /// Why it ended; a draft without it was cut off.
    pub(super) finish_reason: Option<String>,
    /// `None` when the server did not count.
    pub(super) usage: Option<WireUsage>,
    /// As it names itself.
    pub(super) model: Option<String>,
    /// Under which name the reasoning came.
    pub(super) field: Option<ReasoningField>,
    /// Groq answered, whoever stood between.
    pub(super) from_groq: bool,
}

/// Waits for events, one silence at a time.
pub(super) struct Reader<'a> {
    pub(super) clock: &'a Arc<dyn Clock>,
    /// Longest silence [ms].
    pub(super) silence_ms_max: u64,
    pub(super) endpoint: &'a Endpoint,
}

impl Reader<'_> {
    /// Reads a stream to its end.
    ///
    /// Errors: silence, a broken or cut stream (no `finish_reason`), an error event, an answer beyond the bounds.
    pub(super) async fn read(
        &self,
        mut events: StreamResponse<Value>,
        sink: &dyn Sink,
    ) -> Result<Draft, Failure> {
        let mut draft = Draft::default();
        loop {
            let event = match self.or_silence(events.next()).await {
                Ok(Some(event)) => event.map_err(into_failure),
                Ok(None) => break,
                Err(silence) => Err(silence),
            };
            // All that may follow the `finish_reason` is the bill; the answer stands without it.
            let event = match event {
                Err(_) if draft.finish_reason.is_some() => break,
                event => event?,
            };
            draft.add(self.chunk(event)?, sink)?;
        }
        if draft.finish_reason.is_none() {
            return Err(Failure::transient("the stream ended before the answer did"));
        }
        Ok(draft)
    }

    /// The future's value, unless the clock reaches the longest silence first.
    pub(super) async fn or_silence<F: Future>(&self, future: F) -> Result<F::Output, Failure> {
        let future = std::pin::pin!(future);
        match select(future, self.clock.sleep_ms(self.silence_ms_max)).await {
            Either::Left((value, _)) => Ok(value),
            Either::Right(_) => Err(Failure::Silent { waited_ms: self.silence_ms_max }),
        }
    }

    fn chunk(&self, event: Value) -> Result<Chunk, Failure> {
        if let Some(error) = error_in(&event) {
            return Err(classify_event(error, self.clock.now(), self.endpoint));
        }
        let chunk: Chunk = serde_json::from_value(event)
            .map_err(|error| Failure::transient(format!("an event of unknown form: {error}")))?;
        let stopped = chunk.x_groq.as_ref().and_then(|groq| groq.error.as_ref());
        match stopped.filter(|error| !error.is_null()) {
            Some(error) => {
                let words = self.endpoint.quote(&as_text(error));
                Err(Failure::transient(format!("the stream was stopped: {words}")))
            }
            None => Ok(chunk),
        }
    }
}

impl Draft {
    fn add(&mut self, chunk: Chunk, sink: &dyn Sink) -> Result<(), Failure> {
        self.model = self.model.take().or(chunk.model.filter(|model| !model.is_empty()));
        if let Some(groq) = chunk.x_groq {
            self.from_groq = true;
            self.usage = groq.usage.or(self.usage.take());
        }
        self.usage = chunk.usage.or(self.usage.take());
        if let Some(choice) = chunk.choices.unwrap_or_default().into_iter().next() {
            self.add_choice(choice, sink)?;
        }
        let calls: usize =
            self.calls.iter().map(|call| call.name.len() + call.arguments.len()).sum();
        if self.content.len() + self.reasoning.len() + calls > ANSWER_BYTES_MAX {
            return Err(Failure::unusable("the answer does not end; answer in fewer words"));
        }
        Ok(())
    }

    fn add_choice(&mut self, choice: Choice, sink: &dyn Sink) -> Result<(), Failure> {
        if let Some(delta) = choice.delta {
            self.add_text(&delta, sink);
            for call in delta.tool_calls.unwrap_or_default() {
                self.add_call(call)?;
            }
        }
        self.finish_reason =
            choice.finish_reason.filter(|reason| !reason.is_empty()).or(self.finish_reason.take());
        Ok(())
    }

    fn add_text(&mut self, delta: &Delta, sink: &dyn Sink) {
        // A server that sends both names sends the same text twice.
        let reasoning = match (&delta.reasoning, &delta.reasoning_content) {
            (Some(text), _) => Some((text, ReasoningField::Reasoning)),
            (None, Some(text)) => Some((text, ReasoningField::ReasoningContent)),
            (None, None) => None,
        };
        if let Some((text, field)) = reasoning.filter(|(text, _)| !text.is_empty()) {
            self.field = Some(field);
            self.reasoning.push_str(text);
            sink.reasoning(text);
        }
        if let Some(text) = delta.content.as_deref().filter(|text| !text.is_empty()) {
            self.content.push_str(text);
            sink.content(text);
        }
    }

    /// Pieces belong together by index; where a server gives none, a new id starts a new call.
    fn add_call(&mut self, delta: CallDelta) -> Result<(), Failure> {
        let id = delta.id.unwrap_or_default();
        let last = self.calls.len().saturating_sub(1);
        let starts_new = self.calls.last().is_some_and(|call| !id.is_empty() && call.id != id);
        let index = delta.index.unwrap_or(if starts_new { last + 1 } else { last });
        if index >= CALLS_MAX {
            return Err(Failure::unusable("too many calls at once; make one call at a time"));
        }
        if self.calls.len() <= index {
            self.calls.resize(index + 1, RawCall::default());
        }
        let call = &mut self.calls[index];
        if call.id.is_empty() {
            call.id = id;
        }
        let function = delta.function.unwrap_or_default();
        // Some servers repeat the whole name in every piece, others cut it in pieces.
        if let Some(name) = function.name.filter(|name| *name != call.name) {
            call.name.push_str(&name);
        }
        if let Some(arguments) = function.arguments.filter(|arguments| !arguments.is_null()) {
            call.arguments.push_str(&as_text(&arguments));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn draft(events: &[Value]) -> Draft {
        let mut draft = Draft::default();
        for event in events {
            draft.add(serde_json::from_value(event.clone()).unwrap(), &()).unwrap();
        }
        draft
    }

    fn calls(deltas: Value) -> Value {
        json!({"choices": [{"delta": {"tool_calls": deltas}}]})
    }

    #[test]
    fn calls_in_pieces_are_put_together_by_index() {
        let draft = draft(&[
            calls(json!([{"index": 0, "id": "a", "function": {"name": "read_", "arguments": ""}}])),
            calls(json!([{"index": 1, "id": "b", "function": {"name": "stop"}}])),
            calls(json!([{"index": 0, "function": {"name": "metrics", "arguments": "{\"w\""}}])),
            calls(json!([{"index": 0, "function": {"arguments": ":1}"}}])),
        ]);
        assert_eq!(
            (draft.calls[0].name.as_str(), draft.calls[0].id.as_str()),
            ("read_metrics", "a")
        );
        assert_eq!(draft.calls[0].arguments, "{\"w\":1}");
        assert_eq!(draft.calls[1].name, "stop");
    }

    #[test]
    fn calls_without_an_index_are_told_apart_by_id() {
        let piece =
            |id: &str| calls(json!([{"id": id, "function": {"name": "x", "arguments": {}}}]));
        assert_eq!(draft(&[piece("a"), piece("b")]).calls.len(), 2);
        let repeated = calls(json!([{"function": {"name": "x"}}]));
        assert_eq!(draft(&[piece("a"), repeated]).calls[0].name, "x");
    }

    #[test]
    fn an_absurd_index_is_no_allocation() {
        let event = calls(json!([{"index": 4_000_000_000_u64}]));
        let chunk = serde_json::from_value(event).unwrap();
        assert!(matches!(Draft::default().add(chunk, &()), Err(Failure::Unusable { .. })));
    }

    #[test]
    fn reasoning_is_read_under_both_names_and_once() {
        let both = json!({"choices": [{"delta": {"reasoning": "r", "reasoning_content": "r"}}]});
        assert_eq!(draft(&[both]).reasoning, "r");
        let llama = json!({"choices": [{"delta": {"reasoning_content": "r"}}]});
        assert_eq!(draft(&[llama]).field, Some(ReasoningField::ReasoningContent));
    }

    #[test]
    fn usage_comes_from_groqs_corner_or_the_protocols() {
        let groq = json!({"x_groq": {"usage": {"prompt_tokens": 3, "completion_tokens": 2}}});
        assert_eq!(draft(&[groq]).usage.unwrap().prompt_tokens, 3);
        let plain = json!({"choices": [], "usage": {"prompt_tokens": 4,
            "prompt_tokens_details": {"cached_tokens": 1}}});
        let usage = draft(&[plain]).usage.unwrap();
        assert_eq!(usage.prompt_tokens_details.unwrap().cached_tokens, Some(1));
    }
}
