//! What these tests stand on: a clock that is turned by hand and says who waits for it, a receiver of webhooks, a model that
//! writes what it is told to, graphs of a few lines.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::post;
use futures::stream;
use perf_agent::agent::{ConfigFile, ModelChoice, ModelSettings, Settings};
use perf_agent::api::{Outbound, SecurityOptions};
use perf_agent::base::{Clock, ManualClock, Millis};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

use crate::api::support::{Served, settings};

/// 24 November 2026, 08:59:30 UTC: a Tuesday.
pub const TUESDAY: Millis = Millis(1_795_510_770_000);

/// Waits for what must come.
pub async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), what).await.expect("it never came")
}

/// A clock that is turned by hand and says who waits for it.
pub struct Turned {
    clock: ManualClock,
    awaited: watch::Sender<Vec<Millis>>,
}

/// Somebody waits no longer.
struct Waiting<'a>(&'a Turned, Millis);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.awaited.send_modify(|awaited| {
            let at = awaited.iter().position(|at| *at == self.1).unwrap();
            awaited.remove(at);
        });
    }
}

impl Turned {
    pub fn at(start: Millis) -> Arc<Self> {
        Arc::new(Self { clock: ManualClock::new(start), awaited: watch::Sender::new(Vec::new()) })
    }

    /// Turns it to `at` as soon as somebody waits for that moment.
    pub async fn turn(&self, at: Millis) {
        self.is_awaited(at).await;
        self.clock.set(at);
    }

    /// Returns as soon as somebody waits for that moment.
    pub async fn is_awaited(&self, at: Millis) {
        let mut awaited = self.awaited.subscribe();
        within(awaited.wait_for(|all| all.contains(&at))).await.unwrap();
    }
}

#[async_trait]
impl Clock for Turned {
    fn now(&self) -> Millis {
        self.clock.now()
    }

    async fn sleep_until(&self, at: Millis) {
        self.awaited.send_modify(|awaited| awaited.push(at));
        let _waiting = Waiting(self, at);
        self.clock.sleep_until(at).await;
    }
}

/// Options with this clock, that let webhooks come to this machine.
pub fn steered(clock: &Arc<Turned>) -> SecurityOptions {
    SecurityOptions {
        clock: clock.clone(),
        outbound: Outbound::new(vec!["127.0.0.1".to_owned()]),
        webhook_secret: Some("a secret".to_owned().into()),
        ..SecurityOptions::default()
    }
}

/// A call that came.
pub struct Call {
    pub headers: HeaderMap,
    pub text: String,
}

impl Call {
    pub fn body(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }
}

/// Takes webhooks, and answers them by a script; 200 after it.
pub struct Receiver {
    pub url: String,
    calls: mpsc::UnboundedReceiver<Call>,
}

type Script = Arc<Mutex<VecDeque<u16>>>;

impl Receiver {
    pub async fn answering(script: &[u16]) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::on(listener, script)
    }

    pub fn on(listener: tokio::net::TcpListener, script: &[u16]) -> Self {
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let (sender, calls) = mpsc::unbounded_channel();
        let script: Script = Arc::new(Mutex::new(script.iter().copied().collect()));
        let router = Router::new().route("/hook", post(taken)).with_state((sender, script));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, calls }
    }

    /// The next call.
    pub async fn next(&mut self) -> Call {
        within(self.calls.recv()).await.unwrap()
    }

    /// Whether nobody has called since.
    pub fn is_quiet(&mut self) -> bool {
        self.calls.try_recv().is_err()
    }
}

async fn taken(
    State((calls, script)): State<(mpsc::UnboundedSender<Call>, Script)>,
    headers: HeaderMap,
    text: String,
) -> StatusCode {
    let status = script.lock().unwrap().pop_front().unwrap_or(200);
    let _ = calls.send(Call { headers, text });
    StatusCode::from_u16(status).unwrap()
}

/// A model that writes what it is told to, when it is told to.
pub struct Puppet {
    pub url: String,
    said: mpsc::UnboundedSender<Option<String>>,
    asked: mpsc::UnboundedReceiver<()>,
    left: mpsc::UnboundedReceiver<()>,
}

type Lines = Arc<tokio::sync::Mutex<mpsc::UnboundedReceiver<Option<String>>>>;

/// Tells that an answer is over, however it ended.
struct Ended(mpsc::UnboundedSender<()>);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

impl Puppet {
    pub async fn start() -> Self {
        let (said, lines) = mpsc::unbounded_channel();
        let (asks, asked) = mpsc::unbounded_channel();
        let (leaves, left) = mpsc::unbounded_channel();
        let lines: Lines = Arc::new(tokio::sync::Mutex::new(lines));
        let router = Router::new()
            .route("/chat/completions", post(spoken))
            .with_state((asks, leaves, lines));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, said, asked, left }
    }

    /// Returns when it is asked for an answer.
    pub async fn is_asked(&mut self) {
        within(self.asked.recv()).await.unwrap();
    }

    /// Returns when an answer is over, or nobody listens any more.
    pub async fn is_left(&mut self) {
        within(self.left.recv()).await.unwrap();
    }

    /// Writes a piece of the answer.
    pub fn says(&self, piece: &str) {
        self.said.send(Some(piece.to_owned())).unwrap();
    }

    /// Ends the answer.
    pub fn ends(&self) {
        self.said.send(None).unwrap();
    }

    fn settings(&self, settings: Settings) -> Settings {
        let model = ModelSettings {
            choice: ModelChoice::Groq,
            api_key: Some("gsk_puppet".to_owned().into()),
            base_url: self.url.clone(),
            model: "puppet".to_owned(),
            timeout_s: 60,
            retries_max: 0,
        };
        Settings { model, ..settings }
    }
}

fn chunk(delta: &Value, finish: Option<&str>) -> String {
    let choice = json!({"index": 0, "delta": delta, "finish_reason": finish});
    let mut chunk = json!({
        "id": "c", "object": "chat.completion.chunk", "created": 0, "model": "puppet", "choices": [choice],
    });
    if finish.is_some() {
        chunk["usage"] = json!({"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10});
    }
    format!("data: {chunk}\n\n")
}

async fn spoken(
    State((asks, leaves, lines)): State<(
        mpsc::UnboundedSender<()>,
        mpsc::UnboundedSender<()>,
        Lines,
    )>,
) -> Response {
    let _ = asks.send(());
    let pieces = stream::unfold((lines, Ended(leaves), true), |(lines, ended, goes)| async move {
        if !goes {
            return None;
        }
        let said = lines.lock().await.recv().await.flatten();
        let goes = said.is_some();
        let text = match said {
            Some(piece) => chunk(&json!({"role": "assistant", "content": piece}), None),
            None => chunk(&json!({}), Some("stop")) + "data: [DONE]\n\n",
        };
        Some((Ok::<_, std::convert::Infallible>(Bytes::from(text)), (lines, ended, goes)))
    });
    let body = Body::from_stream(pieces);
    Response::builder().header("content-type", "text/event-stream").body(body).unwrap()
}

const WAITS: &str = "schema: graph/v1
name: waits
input: { n: { type: integer, optional: true } }
state:
  log: { type: { array: string }, reducer: append }
output: [n, log]
nodes:
  a: { set: { n: \"{{ n | default(0) + 1 }}\", log: [\"a\"] } }
  hold: { wait: { signal: go } }
  b: { set: { log: [\"b\"] } }
edges:
  - start -> a -> hold -> b -> end
";

const STEPS: &str = "schema: graph/v1
name: steps
input: { n: { type: integer, optional: true } }
state:
  log: { type: { array: string }, reducer: append }
output: [n, log]
nodes:
  a: { set: { n: \"{{ n | default(0) + 1 }}\", log: [\"a\"] } }
  b: { set: { log: [\"b\"] } }
  c: { set: { log: [\"c\"] } }
edges:
  - start -> a -> b -> c -> end
";

const TALKS: &str = "schema: graph/v1
name: talks
input: { n: { type: integer, optional: true } }
state:
  said: string
output: [n, said]
nodes:
  a: { set: { n: \"{{ n | default(0) + 1 }}\" } }
  say: { agent: { prompt: say.md, output: string }, reads: [n], writes: said }
edges:
  - start -> a -> say -> end
";

const CALLS: &str = "schema: graph/v1
name: calls
input: { given: integer }
state:
  found: integer
  said: string
output: [found, said]
nodes:
  before: { set: { given: \"{{ given + 1 }}\" } }
  call: { graph: { name: part, in: { n: \"{{ given }}\" }, out: { found: \"{{ twice }}\", said: \"{{ said }}\" } } }
edges:
  - start -> before -> call -> end
";

const PART: &str = "schema: graph/v1
name: part
input: { n: integer }
state:
  twice: integer
  said: string
output: [twice, said]
nodes:
  double: { set: { twice: \"{{ n * 2 }}\" } }
  say: { agent: { prompt: say.md, output: string }, reads: [n], writes: said }
edges:
  - start -> double -> say -> end
";

const LATE: &str = "schema: graph/v1
name: late
input: { n: { type: integer, optional: true } }
state:
  said: string
output: [said]
nodes:
  say: { agent: { prompt: say.md, output: string }, reads: [n], writes: said, timeout: 1s, retry: { max: 0 } }
edges:
  - start -> say -> end
";

const SLOW: &str = "schema: graph/v1
name: slow
input: { n: { type: integer, optional: true } }
state:
  said: string
limits: { wall: 1s }
output: [said]
nodes:
  say: { agent: { prompt: say.md, output: string }, reads: [n], writes: said }
  b: { set: { said: \"{{ said }}!\" } }
edges:
  - start -> say -> b -> end
";

/// A server that somebody else runs and nobody asks: time is real then.
const REAL: &str = "deployments: [{ launcher: external, name: real, engine: vllm, served_model: m, \
                    endpoints: ['http://127.0.0.1:9'] }]";

/// Graphs to run, in a folder that goes with it.
pub struct Graphs(tempfile::TempDir);

impl Graphs {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let graphs = folder.path().join("graphs");
        let prompts = folder.path().join("prompts");
        std::fs::create_dir_all(&graphs).unwrap();
        std::fs::create_dir_all(&prompts).unwrap();
        std::fs::write(prompts.join("say.md"), "Say something about {{ n }}.\n").unwrap();
        let texts =
            [("waits", WAITS), ("steps", STEPS), ("talks", TALKS), ("part", PART), ("late", LATE)];
        for (name, text) in texts.into_iter().chain([("calls", CALLS), ("slow", SLOW)]) {
            std::fs::write(graphs.join(format!("{name}.yaml")), text).unwrap();
        }
        Self(folder)
    }

    pub fn folder(&self) -> &Path {
        self.0.path()
    }

    /// Where a store may lie that outlives a server.
    pub fn store(&self) -> String {
        format!("sqlite:{}", self.folder().join("runs.db").display())
    }

    pub fn settings(&self, store: &str) -> Settings {
        let (graphs, prompts) =
            (Some(self.folder().join("graphs")), Some(self.folder().join("prompts")));
        Settings { graphs, prompts, ..settings(store) }
    }

    pub async fn served(&self) -> Served {
        Served::of(self.settings("memory:")).await
    }

    /// A server whose model is a puppet.
    pub async fn played(&self, puppet: &Puppet) -> Served {
        Served::of(puppet.settings(self.settings("memory:"))).await
    }

    /// The same in real time.
    pub async fn played_in_real_time(&self, puppet: &Puppet) -> Served {
        let config = ConfigFile::parse("test", REAL).unwrap();
        Served::of(puppet.settings(Settings { config, ..self.settings("memory:") })).await
    }

    /// A server with this clock, over the store that outlives it.
    pub async fn steered(&self, clock: &Arc<Turned>) -> Served {
        Served::safe(self.settings(&self.store()), steered(clock)).await
    }
}

/// The events of a stream that goes on, one by one.
pub struct Live {
    response: reqwest::Response,
    text: String,
    given: usize,
}

impl Live {
    pub async fn open(request: reqwest::RequestBuilder) -> Self {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        Self { response, text: String::new(), given: 0 }
    }

    /// The next event: name, id, data. `None`: it is over.
    pub async fn next(&mut self) -> Option<(String, String, Value)> {
        loop {
            let end = self.text.rfind("\n\n").map_or(0, |at| at + 2);
            let events = crate::api::support::events(&self.text[..end]);
            if let Some(event) = events.into_iter().nth(self.given) {
                self.given += 1;
                return Some(event);
            }
            let chunk = within(self.response.chunk()).await.unwrap()?;
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// The next event of that name.
    pub async fn until(&mut self, name: &str) -> Value {
        loop {
            let (event, _, data) = self.next().await.expect("it ended before");
            if event == name {
                return data;
            }
        }
    }
}

/// Asks until an answer is as wanted.
pub async fn until(served: &Served, path: &str, wanted: impl Fn(u16, &Value) -> bool) -> Value {
    let asked = async {
        loop {
            let (status, answer) = served.get(path).await;
            if wanted(status, &answer) {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within(asked).await
}
