//! What an OpenAI-compatible answer says about itself, and when: the one place where TTFT, TPOT, ITL and E2E
//! are measured. The data plane and the load generator both read answers through it.

use serde::Deserialize;

use crate::base::{SseEvent, SseReader};

/// Longest event, or unstreamed answer, that is looked into [bytes]. A longer one is passed by.
const READ_LIMIT: usize = 1 << 20;

/// What was learnt from one answer.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct AnswerFacts {
    /// Time to first token [ms]; `None` when none arrived or the answer was not streamed.
    pub ttft_ms: Option<f64>,
    /// Mean time per output token [ms]; `None` below two tokens.
    pub tpot_ms: Option<f64>,
    /// Largest gap between two events with tokens [ms].
    pub itl_max_ms: Option<f64>,
    /// Sent → last token [ms]; `None` when no token arrived.
    pub e2e_ms: Option<f64>,
    /// Prompt tokens, when the server reported them.
    pub input_tokens: Option<u32>,
    /// Output tokens: as reported, else the number of events with tokens.
    pub output_tokens: u32,
    /// A finish reason arrived for every choice that was begun.
    pub finished: bool,
}

/// Reads an answer as it arrives. Pure: bytes and the time since the request was sent go in, facts come out.
#[derive(Debug)]
pub struct AnswerReader {
    form: Form,
    seen: Seen,
}

#[derive(Debug)]
enum Form {
    Streamed(SseReader),
    Whole { body: Vec<u8>, last_ms: f64, too_long: bool },
}

impl AnswerReader {
    /// A reader of `text/event-stream`.
    pub fn streamed() -> Self {
        Self { form: Form::Streamed(SseReader::new(READ_LIMIT)), seen: Seen::default() }
    }

    /// A reader of one JSON answer.
    pub fn whole() -> Self {
        Self {
            form: Form::Whole { body: Vec::new(), last_ms: 0.0, too_long: false },
            seen: Seen::default(),
        }
    }

    /// Takes the next bytes, which arrived `at_ms` after the request was sent [ms].
    pub fn feed(&mut self, bytes: &[u8], at_ms: f64) {
        match &mut self.form {
            Form::Streamed(reader) => reader.feed(bytes, |event| self.seen.event(event, at_ms)),
            Form::Whole { body, last_ms, too_long } => {
                *last_ms = at_ms;
                let room = READ_LIMIT.saturating_sub(body.len());
                *too_long |= bytes.len() > room;
                body.extend_from_slice(&bytes[..bytes.len().min(room)]);
            }
        }
    }

    /// Whether nothing but trailing figures is to come: every choice has its finish reason.
    pub fn is_finished(&self) -> bool {
        self.seen.finished()
    }

    /// What was learnt so far.
    pub fn facts(&self) -> AnswerFacts {
        match &self.form {
            Form::Streamed(_) => self.seen.facts(),
            // What it says is not known; that it is whole, the transport knows.
            Form::Whole { last_ms, too_long: true, .. } => {
                AnswerFacts { e2e_ms: Some(*last_ms), finished: true, ..AnswerFacts::default() }
            }
            Form::Whole { body, last_ms, .. } => whole_facts(body, *last_ms),
        }
    }
}

/// An answer that was not streamed has one moment: its tokens' own times are unknown.
fn whole_facts(body: &[u8], last_ms: f64) -> AnswerFacts {
    let Ok(answer) = serde_json::from_slice::<Chunk>(body) else {
        return AnswerFacts::default();
    };
    let reported = answer.usage.unwrap_or_default();
    AnswerFacts {
        e2e_ms: Some(last_ms),
        input_tokens: reported.prompt_tokens,
        output_tokens: reported.completion_tokens.unwrap_or(0),
        finished: !answer.choices.is_empty()
            && answer.choices.iter().all(|choice| choice.finish_reason.is_some()),
        ..AnswerFacts::default()
    }
}

#[derive(Debug, Default)]
struct Seen {
    first_ms: Option<f64>,
    last_ms: f64,
    itl_max_ms: Option<f64>,
    token_events: u32,
    usage: Usage,
    begun: u64,
    ended: u64,
}

impl Seen {
    fn event(&mut self, event: SseEvent<'_>, at_ms: f64) {
        let SseEvent::Data(data) = event else {
            // Too long to look into; only tokens (log probabilities, tool calls) come in such sizes.
            return self.token(at_ms);
        };
        let Ok(chunk) = serde_json::from_slice::<Chunk>(data) else { return };
        if chunk.choices.iter().any(Choice::has_token) {
            self.token(at_ms);
        }
        for choice in &chunk.choices {
            // Answers with more than 64 choices share the last bit: none is known to any engine.
            let bit = 1_u64 << choice.index.min(63);
            self.begun |= bit;
            self.ended |= if choice.finish_reason.is_some() { bit } else { 0 };
        }
        if let Some(usage) = chunk.usage {
            self.usage = usage;
        }
    }

    fn token(&mut self, at_ms: f64) {
        self.token_events += 1;
        if self.first_ms.is_none() {
            self.first_ms = Some(at_ms);
        } else {
            let gap = at_ms - self.last_ms;
            self.itl_max_ms = Some(self.itl_max_ms.map_or(gap, |max| max.max(gap)));
        }
        self.last_ms = at_ms;
    }

    fn finished(&self) -> bool {
        self.begun != 0 && self.begun == self.ended
    }

    fn facts(&self) -> AnswerFacts {
        let output_tokens = self.usage.completion_tokens.unwrap_or(self.token_events);
        let e2e_ms = self.first_ms.map(|_| self.last_ms);
        AnswerFacts {
            ttft_ms: self.first_ms,
            tpot_ms: self.first_ms.and_then(|ttft| tpot_ms(ttft, self.last_ms, output_tokens)),
            itl_max_ms: self.itl_max_ms,
            e2e_ms,
            input_tokens: self.usage.prompt_tokens,
            output_tokens,
            finished: self.finished(),
        }
    }
}

/// Mean time per output token of one request [ms].
///
/// `(e2e_ms − ttft_ms) / (output_tokens − 1)`; `None` below two output tokens: there was no gap to measure.
///
/// Source: vLLM `benchmarks/serve.py`, `calculate_metrics`.
pub fn tpot_ms(ttft_ms: f64, e2e_ms: f64, output_tokens: u32) -> Option<f64> {
    (output_tokens > 1).then(|| (e2e_ms - ttft_ms) / f64::from(output_tokens - 1))
}

#[derive(Debug, Default, Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Option<Usage>,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
struct Usage {
    #[serde(default)]
    prompt_tokens: Option<u32>,
    #[serde(default)]
    completion_tokens: Option<u32>,
}

#[derive(Debug, Deserialize)]
struct Choice {
    #[serde(default)]
    index: u32,
    /// `/v1/completions`.
    #[serde(default)]
    text: Present,
    /// `/v1/chat/completions`.
    #[serde(default)]
    delta: Option<Delta>,
    #[serde(default)]
    finish_reason: Option<serde::de::IgnoredAny>,
}

impl Choice {
    fn has_token(&self) -> bool {
        self.text.0 || self.delta.as_ref().is_some_and(Delta::has_token)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Delta {
    content: Present,
    /// Thinking models, vLLM ≥ 0.12.
    reasoning: Present,
    /// Thinking models, older vLLM and SGLang.
    reasoning_content: Present,
    tool_calls: Present,
}

impl Delta {
    fn has_token(&self) -> bool {
        self.content.0 || self.reasoning.0 || self.reasoning_content.0 || self.tool_calls.0
    }
}

/// Whether a field holds anything: a non-empty text or list. The content itself is never kept.
#[derive(Debug, Default, Clone, Copy)]
struct Present(bool);

impl<'de> Deserialize<'de> for Present {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Present;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a text, a list or null")
            }
            fn visit_str<E>(self, text: &str) -> Result<Present, E> {
                Ok(Present(!text.is_empty()))
            }
            fn visit_unit<E>(self) -> Result<Present, E> {
                Ok(Present(false))
            }
            fn visit_seq<A: serde::de::SeqAccess<'de>>(
                self,
                mut list: A,
            ) -> Result<Present, A::Error> {
                let mut any = false;
                while list.next_element::<serde::de::IgnoredAny>()?.is_some() {
                    any = true;
                }
                Ok(Present(any))
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<Present, A::Error> {
                // No server sends one today; an unknown form must not hide the rest of the event.
                while map.next_entry::<serde::de::IgnoredAny, serde::de::IgnoredAny>()?.is_some() {}
                Ok(Present(true))
            }
        }
        from.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(events: &[(f64, &str)]) -> AnswerFacts {
        let mut reader = AnswerReader::streamed();
        for (at_ms, data) in events {
            reader.feed(format!("data: {data}\n\n").as_bytes(), *at_ms);
        }
        reader.facts()
    }

    const ROLE: &str = r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}"#;
    const TOKEN: &str =
        r#"{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}],"usage":null}"#;
    const STOP: &str = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
    const USAGE: &str = r#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":3}}"#;

    #[test]
    fn the_four_latencies_follow_their_definitions() {
        let facts = read(&[
            (5.0, ROLE),
            (10.0, TOKEN),
            (12.0, TOKEN),
            (40.0, TOKEN),
            (41.0, STOP),
            (42.0, USAGE),
            (43.0, "[DONE]"),
        ]);
        assert_eq!(facts.ttft_ms, Some(10.0), "the role chunk is empty: not a token");
        assert_eq!(facts.e2e_ms, Some(40.0), "the last token, not the last byte");
        assert_eq!(facts.tpot_ms, Some(15.0));
        assert_eq!(facts.itl_max_ms, Some(28.0));
        assert_eq!((facts.input_tokens, facts.output_tokens), (Some(9), 3));
        assert!(facts.finished);
    }

    #[test]
    fn done_without_a_finish_reason_is_not_finished() {
        let facts = read(&[(10.0, TOKEN), (11.0, r#"{"error":{"code":500}}"#), (12.0, "[DONE]")]);
        assert!(!facts.finished);
        assert_eq!(facts.output_tokens, 1);
    }

    #[test]
    fn every_choice_that_was_begun_must_finish() {
        let second = TOKEN.replace(r#""index":0"#, r#""index":1"#);
        assert!(!read(&[(1.0, TOKEN), (2.0, &second), (3.0, STOP)]).finished);
        let stop_second = STOP.replace(r#""index":0"#, r#""index":1"#);
        assert!(read(&[(1.0, TOKEN), (2.0, &second), (3.0, STOP), (4.0, &stop_second)]).finished);
    }

    #[test]
    fn one_token_has_no_tpot_and_no_gap() {
        let facts = read(&[(7.0, TOKEN), (8.0, STOP)]);
        assert_eq!((facts.ttft_ms, facts.e2e_ms), (Some(7.0), Some(7.0)));
        assert_eq!((facts.tpot_ms, facts.itl_max_ms), (None, None));
    }

    #[test]
    fn thinking_and_tool_calls_are_tokens() {
        for delta in
            [r#"{"reasoning":"a"}"#, r#"{"reasoning_content":"a"}"#, r#"{"tool_calls":[{}]}"#]
        {
            let chunk = format!(r#"{{"choices":[{{"index":0,"delta":{delta}}}]}}"#);
            assert_eq!(read(&[(3.0, &chunk)]).ttft_ms, Some(3.0), "{delta}");
        }
    }

    #[test]
    fn an_unstreamed_answer_has_an_end_but_no_first_token() {
        let mut reader = AnswerReader::whole();
        let body = r#"{"choices":[{"index":0,"message":{"content":"a b"},"finish_reason":"length"}],
            "usage":{"prompt_tokens":4,"completion_tokens":2}}"#;
        reader.feed(&body.as_bytes()[..30], 1.0);
        reader.feed(&body.as_bytes()[30..], 9.0);
        let facts = reader.facts();
        assert_eq!((facts.ttft_ms, facts.tpot_ms, facts.e2e_ms), (None, None, Some(9.0)));
        assert_eq!((facts.input_tokens, facts.output_tokens), (Some(4), 2));
        assert!(facts.finished);
    }
}
