//! `OpenAi`: one question, as many attempts as it takes, one answer.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use secrecy::SecretString;

use super::answer::{Answer, from_failed_generation, judge, only_thought, sum, usage_of};
use super::assembly::{Draft, Reader};
use super::endpoint::Endpoint;
use super::failure::Failure;
use super::probe::{self, Probe};
use super::request::{Ask, ReasoningField, WireRequest};
use super::retry::{Next, next};
use super::transport::Transport;
use crate::base::{Clock, SeededRng};
use crate::llm::{ChatModel, ChatReply, ChatRequest, Error, Message, Sink, Usage};

/// Asked after a tool loop whose last answer was prose, to get it in the wanted form.
const IN_THE_FORM: &str = "Give this answer in the required JSON form.";

/// How to reach a model.
#[derive(Debug, Clone)]
pub struct OpenAiOptions {
    /// `https://api.groq.com/openai/v1`.
    pub base_url: String,
    /// Key; empty for servers that want none. Shown nowhere.
    pub api_key: SecretString,
    /// `openai/gpt-oss-20b`.
    pub model: String,
    /// Longest silence, before the first event and between any two [s].
    pub timeout_s: u64,
    /// Attempts after the first.
    pub retries_max: u32,
    /// Of the jitter in the pauses between attempts.
    pub seed: u64,
}

/// A model behind the OpenAI chat protocol: Groq, vLLM, llama.cpp, Ollama.
pub struct OpenAi {
    model: String,
    endpoint: Endpoint,
    silence_ms_max: u64,
    retries_max: u32,
    clock: Arc<dyn Clock>,
    rng: Mutex<SeededRng>,
    /// The error is the reason why no client could be built on this machine.
    transport: Result<Transport, String>,
    /// Learnt from the server's answers: it shows reasoning as `reasoning_content`, and wants it back so.
    says_reasoning_content: AtomicBool,
}

impl OpenAi {
    /// A model at `options.base_url`; nothing is sent yet.
    ///
    /// `clock` measures silences and pauses between attempts: the machine's clock, since the server lives in its time.
    pub fn new(options: OpenAiOptions, clock: Arc<dyn Clock>) -> Self {
        let endpoint = Endpoint::new(&options.base_url, options.api_key);
        let transport = Transport::new(endpoint.clone(), Arc::clone(&clock))
            .map_err(|error| format!("no HTTP client: {error}"));
        Self {
            model: options.model,
            endpoint,
            silence_ms_max: options.timeout_s.saturating_mul(1000),
            retries_max: options.retries_max,
            clock,
            rng: Mutex::new(SeededRng::stream(options.seed, "llm.retry")),
            transport,
            says_reasoning_content: AtomicBool::new(false),
        }
    }

    /// Asks the server for its models: is it there, does it take the key, does it have the model. One attempt.
    pub async fn probe(&self) -> Probe {
        let outcome = match &self.transport {
            Ok(transport) => {
                probe::ask(transport.http(), &self.endpoint, &self.reader(), &self.clock).await
            }
            Err(detail) => Err(Failure::Unreachable { detail: detail.clone() }),
        };
        probe::judge(outcome, &self.endpoint, &self.model)
    }

    /// One generation, in the room's words for failure.
    async fn generate(
        &self,
        request: &ChatRequest,
        ask: Ask,
        sink: &dyn Sink,
    ) -> Result<Generation, Error> {
        let outcome = match self.draft(request, ask, sink).await {
            Ok(draft) => judge(&draft, request, ask).map(|answer| (answer, draft)),
            Err(Failure::ToolUse { generation, detail }) => {
                let draft = Draft { content: generation, ..Draft::default() };
                from_failed_generation(&draft.content, &detail, request, ask)
                    .map(|answer| (answer, draft))
            }
            Err(failure) => Err(failure),
        };
        let (answer, draft) =
            outcome.map_err(|failure| failure.into_error(&self.endpoint, &self.model))?;
        let billed = draft.from_groq || self.endpoint.is_groq();
        let usage = usage_of(&draft, request, &self.model, billed);
        let model = draft.model.unwrap_or_else(|| self.model.clone());
        Ok(Generation { answer, reasoning: draft.reasoning, usage, model })
    }

    /// A whole draft. A model that only thought is asked once more to think less, if it is one that can.
    async fn draft(
        &self,
        request: &ChatRequest,
        ask: Ask,
        sink: &dyn Sink,
    ) -> Result<Draft, Failure> {
        let draft = self.retried(request, ask, None, sink).await?;
        if !only_thought(&draft) || !self.model.contains("gpt-oss") {
            return Ok(draft);
        }
        tracing::debug!(prompt = request.prompt, "the model only thought; asking for less effort");
        sink.restart();
        let mut second = self.retried(request, ask, Some("low"), sink).await?;
        add_usage(&mut second, &draft);
        Ok(second)
    }

    async fn retried(
        &self,
        request: &ChatRequest,
        ask: Ask,
        effort: Option<&'static str>,
        sink: &dyn Sink,
    ) -> Result<Draft, Failure> {
        let mut retries_done = 0;
        loop {
            let failure = match self.attempt(request, ask, effort, sink).await {
                Ok(draft) => return Ok(draft),
                Err(failure) => failure,
            };
            let decision = {
                let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
                next(&failure, retries_done, self.retries_max, &mut *rng)
            };
            let Next::Again { pause_ms } = decision else { return Err(failure) };
            retries_done += 1;
            tracing::debug!(%failure, pause_ms, retries_done, "asking the model again");
            sink.restart();
            self.clock.sleep_ms(pause_ms).await;
        }
    }

    async fn attempt(
        &self,
        request: &ChatRequest,
        ask: Ask,
        effort: Option<&'static str>,
        sink: &dyn Sink,
    ) -> Result<Draft, Failure> {
        let transport = self
            .transport
            .as_ref()
            .map_err(|detail| Failure::Unreachable { detail: detail.clone() })?;
        let field = match self.says_reasoning_content.load(Ordering::Relaxed) {
            true => ReasoningField::ReasoningContent,
            false => ReasoningField::Reasoning,
        };
        let wire = WireRequest::new(request, &self.model, ask, field, effort);
        let reader = self.reader();
        let events = reader.or_silence(transport.stream(&wire)).await??;
        let draft = reader.read(events, sink).await?;
        if let Some(field) = draft.field {
            let says = field == ReasoningField::ReasoningContent;
            self.says_reasoning_content.store(says, Ordering::Relaxed);
        }
        Ok(draft)
    }

    fn reader(&self) -> Reader<'_> {
        Reader { clock: &self.clock, silence_ms_max: self.silence_ms_max, endpoint: &self.endpoint }
    }
}

/// One judged generation.
struct Generation {
    answer: Answer,
    reasoning: String,
    usage: Usage,
    model: String,
}

impl Generation {
    fn into_reply(self) -> ChatReply {
        self.answer.into_reply(self.reasoning, self.usage, self.model)
    }
}

/// The tokens of a draft that was thrown away were spent all the same.
fn add_usage(draft: &mut Draft, thrown_away: &Draft) {
    if let (Some(usage), Some(spent)) = (&mut draft.usage, &thrown_away.usage) {
        usage.prompt_tokens += spent.prompt_tokens;
        usage.completion_tokens += spent.completion_tokens;
    }
}

#[async_trait]
impl ChatModel for OpenAi {
    fn name(&self) -> String {
        self.model.clone()
    }

    /// With both `tools` and `output` the tools go first; once the model answers in prose instead of calling, a
    /// second generation without tools puts the answer in form.
    async fn chat(&self, request: &ChatRequest, sink: &dyn Sink) -> Result<ChatReply, Error> {
        let ask = match (&request.output, request.tools.is_empty()) {
            (Some(_), true) => Ask::Output,
            _ => Ask::Tools,
        };
        let mut first = self.generate(request, ask, sink).await?;
        if first.answer.settles(request.output.as_ref()) {
            return Ok(first.into_reply());
        }
        let mut again = request.clone();
        again.messages.push(Message::Assistant {
            content: first.answer.content().to_owned(),
            reasoning: None,
            tool_calls: Vec::new(),
        });
        again.messages.push(Message::User { content: IN_THE_FORM.to_owned() });
        sink.restart();
        let mut second = self.generate(&again, Ask::Output, sink).await?;
        second.usage = sum(first.usage, second.usage);
        Ok(second.into_reply())
    }
}

impl std::fmt::Debug for OpenAi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenAi")
            .field("model", &self.model)
            .field("endpoint", &self.endpoint.shown())
            .finish_non_exhaustive()
    }
}
