//! A model that says what it was told to say: for tests, and to replay a recorded run.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::{ChatModel, ChatReply, ChatRequest, Error, Sink};

/// Answers from a list. What is meant for the asking prompt goes first, then what is meant for any.
#[derive(Debug, Default)]
pub struct Scripted {
    script: Mutex<Script>,
}

#[derive(Debug, Default)]
struct Script {
    for_any: VecDeque<Result<ChatReply, Error>>,
    for_prompt: HashMap<String, VecDeque<Result<ChatReply, Error>>>,
    asked: Vec<ChatRequest>,
}

impl Scripted {
    /// Gives `replies` in order, whatever is asked.
    pub fn new(replies: impl IntoIterator<Item = ChatReply>) -> Self {
        let for_any = replies.into_iter().map(Ok).collect();
        Self { script: Mutex::new(Script { for_any, ..Script::default() }) }
    }

    /// Also gives `reply` to `prompt` (`diagnose.md`), after what it has for it already.
    #[must_use]
    pub fn on(self, prompt: &str, reply: ChatReply) -> Self {
        self.add(prompt, Ok(reply))
    }

    /// Also fails `prompt` with `error`, after what it has for it already.
    #[must_use]
    pub fn fail_on(self, prompt: &str, error: Error) -> Self {
        self.add(prompt, Err(error))
    }

    /// Every question so far, in order.
    pub fn asked(&self) -> Vec<ChatRequest> {
        self.lock().asked.clone()
    }

    fn add(self, prompt: &str, answer: Result<ChatReply, Error>) -> Self {
        self.lock().for_prompt.entry(prompt.to_owned()).or_default().push_back(answer);
        self
    }

    fn lock(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl ChatModel for Scripted {
    fn name(&self) -> String {
        "scripted".to_owned()
    }

    /// Errors: [`Error::NoRule`] when the script has run out.
    async fn chat(&self, request: &ChatRequest, sink: &dyn Sink) -> Result<ChatReply, Error> {
        let answer = {
            let mut script = self.lock();
            script.asked.push(request.clone());
            let own = script.for_prompt.get_mut(&request.prompt).and_then(VecDeque::pop_front);
            own.or_else(|| script.for_any.pop_front())
        };
        let ran_out = || Error::NoRule { model: self.name(), prompt: request.prompt.clone() };
        let reply = answer.unwrap_or_else(|| Err(ran_out()))?;
        if let Some(reasoning) = &reply.reasoning {
            sink.reasoning(reasoning);
        }
        if !reply.content.is_empty() {
            sink.content(&reply.content);
        }
        Ok(reply)
    }
}
