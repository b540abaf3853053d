//! The paths of a vLLM server.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use rand_distr::{Distribution as _, LogNormal};
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use super::answer::Answer;
use super::ask::{Ask, Form};
use super::drive::Command;
use super::engine::Flight;
use super::failure::Failure;
use super::stream::{Ticket, UnderWay};
use crate::base::{Clock as _, SeededRng, SystemClock};
use crate::serving::simulated::counters::Reason;

/// Largest request [bytes]: far above any context window.
const BODY_MAX: usize = 64 << 20;
/// The version whose pages and answers these are, marked as what it is.
const VERSION: &str = "0.32.0+simulated";
/// Mean and spread (σ of a log-normal) of an answer's length when nobody bounds it [tokens].
const ANSWER_MEAN: f64 = 200.0;
const ANSWER_SIGMA: f64 = 0.7;

/// What every handler needs.
#[derive(Debug)]
pub(super) struct Front {
    pub(super) commands: UnboundedSender<Command>,
    /// Name under which the model is served.
    pub(super) model: String,
    pub(super) max_model_len: u32,
    /// Of the answers' lengths.
    pub(super) seed: u64,
    /// When the process began [ms since the Unix epoch].
    pub(super) started_ms: u64,
    /// Requests so far.
    pub(super) requests: AtomicU64,
}

/// Every path.
pub(super) fn routes(front: Front) -> Router {
    Router::new()
        .route("/v1/chat/completions", post(chat))
        .route("/v1/completions", post(completion))
        .route("/v1/models", get(models))
        .route("/metrics", get(metrics))
        .route("/health", get(health))
        .route("/version", get(version))
        .fallback(|| async { Failure::nothing_here(StatusCode::NOT_FOUND) })
        .method_not_allowed_fallback(|| async {
            Failure::nothing_here(StatusCode::METHOD_NOT_ALLOWED)
        })
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .with_state(Arc::new(front))
}

async fn chat(State(front): State<Arc<Front>>, body: Bytes) -> Result<Response, Failure> {
    front.answer(Ask::read(Form::Chat, &body)?).await
}

async fn completion(State(front): State<Arc<Front>>, body: Bytes) -> Result<Response, Failure> {
    front.answer(Ask::read(Form::Completion, &body)?).await
}

async fn metrics(State(front): State<Arc<Front>>) -> Result<Response, Failure> {
    let (ask, page) = oneshot::channel();
    let gone = |_| Failure::engine_gone();
    front.commands.send(Command::Page(ask)).map_err(|_| Failure::engine_gone())?;
    let kind = [(header::CONTENT_TYPE, "text/plain; version=1.0.0; charset=utf-8")];
    Ok((kind, page.await.map_err(gone)?).into_response())
}

async fn models(State(front): State<Arc<Front>>) -> Json<Value> {
    Json(json!({"object": "list", "data": [{
        "id": front.model,
        "object": "model",
        "created": front.started_ms / 1000,
        "owned_by": "vllm",
        "root": front.model,
        "parent": null,
        "max_model_len": front.max_model_len,
    }]}))
}

async fn health(State(front): State<Arc<Front>>) -> StatusCode {
    if front.commands.is_closed() { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK }
}

async fn version() -> Json<Value> {
    Json(json!({"version": VERSION}))
}

impl Front {
    async fn answer(&self, ask: Ask) -> Result<Response, Failure> {
        let stream = ask.stream;
        let mut under_way = self.submit(ask)?;
        under_way.admitted().await?;
        if stream { Ok(under_way.streamed()) } else { under_way.whole().await }
    }

    fn submit(&self, ask: Ask) -> Result<UnderWay, Failure> {
        let Ask { form, model, prompt, max_tokens, include_usage, .. } = ask;
        if let Some(other) = model.filter(|model| *model != self.model) {
            return Err(Failure::unknown_model(&other));
        }
        let id = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        let input_tokens = prompt.tokens;
        let (output_tokens, reason) = self.length(id, input_tokens, max_tokens)?;
        let answer = Answer {
            form,
            id: self.name(form, id),
            created: SystemClock.now().0 / 1000,
            model: self.model.clone(),
            input_tokens,
            include_usage,
            tokens: 0,
        };
        let (events, received) = unbounded_channel();
        let flight = Flight { reason, max_tokens, events };
        let command = Command::Submit { id, prompt, output_tokens, flight };
        self.commands.send(command).map_err(|_| Failure::engine_gone())?;
        let _ticket = Ticket { id, commands: self.commands.clone() };
        Ok(UnderWay { events: received, answer, _ticket })
    }

    /// How long an answer will be [tokens], and why it ends there.
    ///
    /// Errors: 400 when it does not fit the context window behind its prompt.
    fn length(&self, id: u64, input: u32, max: Option<u32>) -> Result<(u32, Reason), Failure> {
        let room = self.max_model_len.saturating_sub(input);
        let asked = max.unwrap_or(1);
        if asked > room {
            return Err(Failure::too_long(self.max_model_len, input, asked));
        }
        if let Some(max) = max {
            return Ok((max, Reason::Length));
        }
        let drawn = self.drawn(id);
        Ok(if drawn <= room { (drawn, Reason::Stop) } else { (room, Reason::Length) })
    }

    fn drawn(&self, id: u64) -> u32 {
        let mut rng = SeededRng::stream(self.seed, &format!("answer/{id}"));
        let location = ANSWER_MEAN.ln() - ANSWER_SIGMA * ANSWER_SIGMA / 2.0;
        let lengths = LogNormal::new(location, ANSWER_SIGMA);
        let drawn = lengths.map_or(ANSWER_MEAN, |lengths| lengths.sample(rng.inner()));
        drawn.round().max(1.0) as u32
    }

    fn name(&self, form: Form, id: u64) -> String {
        let kind = match form {
            Form::Chat => "chatcmpl",
            Form::Completion => "cmpl",
        };
        format!("{kind}-{:x}-{id}", self.started_ms)
    }
}
