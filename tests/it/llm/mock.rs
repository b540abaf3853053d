//! A Groq of our own on loopback: it plays a list of turns, and remembers what it was asked.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::{get, post};
use futures::{StreamExt, stream};
use perf_agent::base::{Clock, ManualClock, Millis};
use perf_agent::llm::{ChatRequest, Message, OpenAi, OpenAiOptions, Sink, ToolSpec};
use serde_json::{Value, json};
use tokio::sync::Notify;

pub const KEY: &str = "gsk_the_only_good_key";
pub const MODEL: &str = "openai/gpt-oss-20b";

/// What the server does with one request.
#[derive(Clone)]
pub enum Turn {
    /// A refusal: status, headers, body.
    Refuse(u16, Vec<(&'static str, String)>, String),
    /// Events, then `[DONE]`.
    Stream(Vec<Value>),
    /// Events, then the end of the body without `[DONE]`.
    Cut(Vec<Value>),
    /// Events, then a broken connection.
    Break(Vec<Value>),
    /// Events, then silence for ever.
    Idle(Vec<Value>),
    /// Not even a status line.
    Silent,
    /// These bytes as a stream of events.
    Raw(String),
    /// A body of this content type with status 200.
    Plain(&'static str, String),
}

struct World {
    turns: Mutex<VecDeque<Turn>>,
    asked: Mutex<Vec<Value>>,
    headers: Mutex<Vec<HeaderMap>>,
    /// Rings when a request has been taken in, and when an idle stream has sent all it had.
    heard: Notify,
}

/// The running server.
pub struct Groq {
    world: Arc<World>,
    pub base_url: String,
    pub clock: Arc<ManualClock>,
}

impl Groq {
    pub async fn start(turns: impl IntoIterator<Item = Turn>) -> Self {
        install_crypto();
        let world = Arc::new(World {
            turns: Mutex::new(turns.into_iter().collect()),
            asked: Mutex::default(),
            headers: Mutex::default(),
            heard: Notify::new(),
        });
        let routes = Router::new()
            .route("/openai/v1/chat/completions", post(complete))
            .route("/openai/v1/models", get(models))
            .with_state(Arc::clone(&world));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}/openai/v1", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self { world, base_url, clock: Arc::new(ManualClock::new(Millis(1_000_000))) }
    }

    pub fn options(&self) -> OpenAiOptions {
        OpenAiOptions {
            base_url: self.base_url.clone(),
            api_key: KEY.into(),
            model: MODEL.to_owned(),
            timeout_s: 30,
            retries_max: 3,
            seed: 7,
        }
    }

    pub fn model(&self) -> OpenAi {
        OpenAi::new(self.options(), self.clock.clone())
    }

    /// Bodies of the requests so far.
    pub fn asked(&self) -> Vec<Value> {
        self.world.asked.lock().unwrap().clone()
    }

    pub fn headers(&self) -> Vec<HeaderMap> {
        self.world.headers.lock().unwrap().clone()
    }

    /// Returns once the server has taken in another request, or an idle stream went quiet.
    pub async fn heard(&self) {
        self.world.heard.notified().await;
    }

    /// Runs `work` while time jumps ahead by `step_ms` whenever nothing else happens; returns its value and the time
    /// that passed [ms]. Real time only matters to let the sockets speak.
    pub async fn in_fast_time<T>(&self, step_ms: u64, work: impl Future<Output = T>) -> (T, u64) {
        let started = self.clock.now();
        let turning = async {
            loop {
                tokio::time::sleep(Duration::from_millis(20)).await;
                self.clock.set(self.clock.now().plus(step_ms));
            }
        };
        tokio::select! {
            value = work => (value, self.clock.now().since(started)),
            () = turning => unreachable!("the clock turns for ever"),
        }
    }
}

/// reqwest panics without one; once per process is enough.
pub fn install_crypto() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

async fn complete(State(world): State<Arc<World>>, headers: HeaderMap, body: Bytes) -> Response {
    let body: Value = serde_json::from_slice(&body).unwrap();
    world.asked.lock().unwrap().push(body);
    let authorized = is_authorized(&headers);
    world.headers.lock().unwrap().push(headers);
    if !authorized {
        return refuse(401, &[], &invalid_key());
    }
    let turn = world.turns.lock().unwrap().pop_front();
    world.heard.notify_one();
    match turn.expect("the mock was asked more often than it has turns") {
        Turn::Refuse(status, headers, body) => refuse(status, &headers, &body),
        Turn::Stream(events) => sse(text(&events) + "data: [DONE]\n\n"),
        Turn::Cut(events) => sse(text(&events)),
        Turn::Break(events) => sse_body(then_broken(text(&events))),
        Turn::Idle(events) => sse_body(then_silence(world, text(&events))),
        Turn::Raw(text) => sse(text),
        Turn::Silent => std::future::pending().await,
        Turn::Plain(kind, body) => {
            Response::builder().header("content-type", kind).body(Body::from(body)).unwrap()
        }
    }
}

async fn models(State(world): State<Arc<World>>, headers: HeaderMap) -> Response {
    let authorized = is_authorized(&headers);
    world.headers.lock().unwrap().push(headers);
    if !authorized {
        return refuse(401, &[], &invalid_key());
    }
    let list = json!({"object": "list", "data": [{"id": MODEL}, {"id": "qwen/qwen3-32b"}]});
    Response::builder()
        .header("content-type", "application/json")
        .body(Body::from(list.to_string()))
        .unwrap()
}

fn is_authorized(headers: &HeaderMap) -> bool {
    headers.get("authorization").is_some_and(|value| value == &format!("Bearer {KEY}"))
}

/// Echoes nothing of the key, as Groq does; the tests of leaks make a server that does.
fn invalid_key() -> String {
    json!({"error": {"message": "Invalid API Key", "type": "invalid_request_error",
        "code": "invalid_api_key"}})
    .to_string()
}

fn refuse(status: u16, headers: &[(&'static str, String)], body: &str) -> Response {
    let mut response = Response::builder().status(StatusCode::from_u16(status).unwrap());
    for (name, value) in headers {
        response = response.header(*name, value);
    }
    response.body(Body::from(body.to_owned())).unwrap()
}

fn text(events: &[Value]) -> String {
    events.iter().map(|event| format!("data: {event}\n\n")).collect()
}

fn sse(text: String) -> Response {
    // One byte per piece of the body would be slow; seven cuts every event somewhere.
    let pieces: Vec<_> =
        text.as_bytes().chunks(7).map(|piece| Ok::<_, std::io::Error>(piece.to_vec())).collect();
    sse_body(Body::from_stream(stream::iter(pieces)))
}

/// What was sent must be on the wire before the connection goes, or the client sees no answer at all.
fn then_broken(text: String) -> Body {
    let broken = stream::once(async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Err(std::io::Error::other("cable pulled"))
    });
    Body::from_stream(stream::iter([Ok(Bytes::from(text))]).chain(broken))
}

fn then_silence(world: Arc<World>, text: String) -> Body {
    let silence = stream::once(async move {
        world.heard.notify_one();
        std::future::pending::<Result<Bytes, std::io::Error>>().await
    });
    Body::from_stream(stream::iter([Ok(Bytes::from(text))]).chain(silence))
}

fn sse_body(body: Body) -> Response {
    Response::builder().header("content-type", "text/event-stream").body(body).unwrap()
}

/// A chunk as Groq writes it, tier and all.
pub fn chunk(delta: Value, finish_reason: Option<&str>) -> Value {
    json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": MODEL,
        "service_tier": "on_demand", "system_fingerprint": "fp", "x_groq": {"id": "req_1"},
        "choices": [{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason}]})
}

/// The last chunk, with Groq's usage in its own corner.
pub fn last(finish_reason: &str, input: u64, output: u64) -> Value {
    let mut last = chunk(json!({}), Some(finish_reason));
    last["x_groq"] = json!({"id": "req_1", "usage": {"prompt_tokens": input,
        "completion_tokens": output, "prompt_tokens_details": {"cached_tokens": 64}}});
    last
}

/// An answer in plain words.
pub fn says(content: &str) -> Turn {
    Turn::Stream(vec![
        chunk(json!({"role": "assistant", "content": ""}), None),
        chunk(json!({"content": content}), None),
        last("stop", 1000, 100),
    ])
}

/// A call in one piece.
pub fn calls(name: &str, arguments: &str) -> Turn {
    let call = json!([{"index": 0, "id": "fc_1", "type": "function",
        "function": {"name": name, "arguments": arguments}}]);
    Turn::Stream(vec![chunk(json!({"tool_calls": call}), None), last("tool_calls", 1000, 50)])
}

pub fn limited(headers: &[(&'static str, &str)]) -> Turn {
    let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    let body = json!({"error": {"message": "Rate limit reached for model", "type": "tokens",
        "code": "rate_limit_exceeded"}});
    Turn::Refuse(429, headers, body.to_string())
}

pub fn refusal(status: u16, error: Value) -> Turn {
    Turn::Refuse(status, Vec::new(), json!({ "error": error }).to_string())
}

/// A question without tools or form.
pub fn question() -> ChatRequest {
    ChatRequest {
        prompt: "diagnose.md".to_owned(),
        messages: vec![
            Message::System { content: "You tune servers.".to_owned() },
            Message::User { content: "What is wrong?".to_owned() },
        ],
        tools: Vec::new(),
        output: None,
        facts: [("secret_fact".to_owned(), json!("stays here"))].into(),
        completion_tokens_max: 1024,
    }
}

/// The same with one tool, `read_metrics {window_s: 10..=3600}`.
pub fn question_with_tools() -> ChatRequest {
    let tool = ToolSpec {
        name: "read_metrics".to_owned(),
        description: "Reads latency.".to_owned(),
        parameters: json!({"type": "object", "required": ["window_s"],
            "properties": {"window_s": {"type": "integer", "minimum": 10, "maximum": 3600}},
            "additionalProperties": false}),
    };
    ChatRequest { tools: vec![tool], ..question() }
}

/// Writes down what a sink hears.
#[derive(Default)]
pub struct Heard(Mutex<String>);

impl Heard {
    pub fn text(&self) -> String {
        self.0.lock().unwrap().clone()
    }
}

impl Sink for Heard {
    fn content(&self, delta: &str) {
        self.0.lock().unwrap().push_str(delta);
    }
    fn reasoning(&self, delta: &str) {
        self.0.lock().unwrap().push_str(&format!("({delta})"));
    }
    fn restart(&self) {
        self.0.lock().unwrap().push('⟲');
    }
}
