//! A server in this process, and a client for it.

use std::sync::OnceLock;
use std::time::Duration;

use perf_agent::agent::{Agent, ConfigFile, ModelChoice, ModelSettings, Settings};
use perf_agent::api::{Keys, McpAccess, Scope, SecurityOptions, Server, ServerOptions};
use perf_agent::base::{Clock, SseEvent, SseReader, SystemClock};
use perf_agent::serving::simulated;
use secrecy::ExposeSecret;
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A goal that the default fleet can be brought to.
pub const GOAL: &str =
    "Get p95 time to first token under 300 ms at today's load, without losing throughput";

pub struct Served {
    pub base: String,
    pub client: reqwest::Client,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

pub fn settings(store_url: &str) -> Settings {
    Settings {
        store_url: store_url.to_owned(),
        seed: 2,
        model: ModelSettings {
            choice: ModelChoice::Expert,
            api_key: None,
            base_url: "http://127.0.0.1:9".to_owned(),
            model: "none".to_owned(),
            timeout_s: 1,
            retries_max: 0,
        },
        config: ConfigFile::default(),
        graphs: None,
        prompts: None,
        tools: None,
        operator: "tester".to_owned(),
        records_only: false,
    }
}

impl Served {
    pub async fn start() -> Self {
        Self::over("memory:").await
    }

    /// A server over the store at `store_url`.
    pub async fn over(store_url: &str) -> Self {
        Self::of(settings(store_url)).await
    }

    /// A server of the graphs that tests are made of.
    pub async fn with_test_graphs(store_url: &str) -> Self {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/graphs");
        let prompts = Some(folder.join("prompts"));
        Self::of(Settings { graphs: Some(folder), prompts, ..settings(store_url) }).await
    }

    /// A server that offers MCP clients every tool.
    pub async fn with_mcp_effects() -> Self {
        let mcp = McpAccess { effects: true, consent: false };
        Self::with(settings("memory:"), mcp).await
    }

    pub async fn of(settings: Settings) -> Self {
        Self::safe(settings, SecurityOptions::default()).await
    }

    async fn with(settings: Settings, mcp: McpAccess) -> Self {
        Self::bound(agent(settings).await, mcp, SecurityOptions::default()).await
    }

    /// A server with these settings of its safety.
    pub async fn safe(settings: Settings, security: SecurityOptions) -> Self {
        let agent = agent(settings).await;
        Self::by(agent, security).await
    }

    /// A server of this agent.
    pub async fn by(agent: Agent, security: SecurityOptions) -> Self {
        Self::bound(agent, McpAccess::default(), security).await
    }

    pub async fn bound(agent: Agent, mcp: McpAccess, security: SecurityOptions) -> Self {
        let listen = "127.0.0.1:0".parse().unwrap();
        let options = ServerOptions { listen, config: None, mcp, security };
        let server = Server::bind(agent, options).await.unwrap();
        let scheme = if server.is_tls() { "https" } else { "http" };
        let base = format!("{scheme}://{}", server.listen());
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        let serving = tokio::spawn(async move { server.serve(stopped).await.unwrap() });
        Self { base, client: reqwest::Client::new(), stop, serving }
    }

    /// Stops as SIGTERM does, and waits for the drain.
    pub async fn stop(self) {
        self.stop.cancel();
        self.serving.await.unwrap();
    }

    pub async fn get(&self, path: &str) -> (u16, Value) {
        answer(self.client.get(format!("{}{path}", self.base))).await
    }

    pub async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        answer(self.client.post(format!("{}{path}", self.base)).json(&body)).await
    }

    /// Status and body, `null` where there is none.
    pub async fn send(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let url = format!("{}{path}", self.base);
        let request = self.client.request(method.parse().unwrap(), url).json(&body);
        let (status, text) = told(request).await;
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    pub async fn delete(&self, path: &str) -> u16 {
        self.client.delete(format!("{}{path}", self.base)).send().await.unwrap().status().as_u16()
    }

    /// A POST without a body.
    pub async fn post_text(&self, path: &str) -> (u16, String) {
        let response = self.client.post(format!("{}{path}", self.base)).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    /// The events that a POST is answered with.
    pub async fn events(&self, path: &str, body: Value) -> Vec<(String, String, Value)> {
        let url = format!("{}{path}", self.base);
        let response = self.client.post(url).json(&body).send().await.unwrap();
        assert_eq!(response.headers()["content-type"], "text/event-stream; charset=utf-8");
        events(&response.text().await.unwrap())
    }

    pub async fn text(&self, path: &str) -> String {
        self.client.get(format!("{}{path}", self.base)).send().await.unwrap().text().await.unwrap()
    }

    /// Asks until the run of `thread` stands at something else than `running`.
    pub async fn rested(&self, thread: &str) -> Value {
        loop {
            let (status, result) = self.get(&format!("/optimize/{thread}")).await;
            assert_eq!(status, 200, "{result}");
            if result["status"] != "running" {
                return result;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A thread for `goal` in the background.
    pub async fn optimize(&self, body: Value) -> String {
        let (status, accepted) = self.post("/optimize", body).await;
        assert_eq!(status, 202, "{accepted}");
        accepted["thread_id"].as_str().unwrap().to_owned()
    }

    pub async fn thread(&self) -> String {
        let (status, thread) = self.post("/threads", serde_json::json!({})).await;
        assert_eq!(status, 200, "{thread}");
        thread["thread_id"].as_str().unwrap().to_owned()
    }
}

async fn answer(request: reqwest::RequestBuilder) -> (u16, Value) {
    let (status, text) = told(request).await;
    (status, serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")))
}

/// Status and body. A refusal has a code that the document lists for its operation.
async fn told(request: reqwest::RequestBuilder) -> (u16, String) {
    let (client, request) = request.build_split();
    let request = request.unwrap();
    let (method, path) =
        (request.method().as_str().to_lowercase(), request.url().path().to_owned());
    let response = client.execute(request).await.unwrap();
    let status = response.status().as_u16();
    let code = response.headers().get("x-error-code").map(|code| code.to_str().unwrap().to_owned());
    let text = response.text().await.unwrap();
    if (400..500).contains(&status) {
        let body: Value = serde_json::from_str(&text).unwrap_or_default();
        let word = |field: &str| body[field].as_str().map(str::to_owned);
        let seeds = path.starts_with("/api/v1/");
        let code = code.or_else(|| word("code")).or_else(|| word("error").filter(|_| seeds));
        // A task that failed has the code of its run: any there is.
        if let Some(code) = code.filter(|_| body["task_id"].is_null()) {
            listed(&method, &path, status, &code);
        }
    }
    (status, text)
}

/// Fails unless the document lists `code` for that operation, under that status or `4XX`.
fn listed(method: &str, path: &str, status: u16, code: &str) {
    static DOCUMENT: OnceLock<Value> = OnceLock::new();
    let paths = DOCUMENT.get_or_init(perf_agent::api::document)["paths"].as_object().unwrap();
    let parts: Vec<&str> = path.split('/').collect();
    let fits = |template: &&String| {
        let wanted: Vec<&str> = template.split('/').collect();
        let same = |(wanted, part): (&&str, &&str)| wanted == part || wanted.starts_with('{');
        wanted.len() == parts.len() && wanted.iter().zip(&parts).all(same)
    };
    let found = paths.keys().filter(fits).min_by_key(|template| template.matches('{').count());
    let Some(operation) = found.and_then(|found| paths[found].get(method)) else { return };
    let codes = |status: &str| operation["responses"][status]["x-codes"].as_array();
    let status = status.to_string();
    let told = codes(&status).or_else(|| codes("4XX"));
    assert!(
        told.is_some_and(|codes| codes.iter().any(|listed| listed == code)),
        "{method} {}: {status} `{code}` is not in the document: {told:?}",
        found.unwrap()
    );
}

/// Where a simulated vLLM listens that has answered one request.
pub async fn engine() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(simulated::serve(
        simulated::WorldSpec::default(),
        listener,
        50.0,
        std::future::pending(),
    ));
    let prompt = serde_json::json!({"prompt": "x".repeat(400), "max_tokens": 5});
    let request = reqwest::Client::new().post(format!("{url}/v1/completions")).json(&prompt);
    assert_eq!(request.send().await.unwrap().status(), 200);
    url
}

pub async fn agent(settings: Settings) -> Agent {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Agent::shared(settings, "serve").await.unwrap()
}

/// Makes a key in the agent's store; its secret.
pub async fn key(agent: &Agent, scopes: &[Scope]) -> String {
    let keys = Keys::open(agent.documents().clone()).await.unwrap();
    let name: Vec<&str> = scopes.iter().map(|scope| scope.as_str()).collect();
    let random = rustls::crypto::ring::default_provider().secure_random;
    let scopes = scopes.iter().copied().collect();
    let made = keys.create(&name.join("+"), scopes, SystemClock.now(), random).await.unwrap();
    made.secret.expose_secret().to_owned()
}

/// A server that asks for keys, with one for each scope.
pub struct Keyed {
    pub served: Served,
    secrets: Vec<(Scope, String)>,
}

impl Keyed {
    pub async fn start() -> Self {
        // So many requests as a test sends are nobody's fault.
        let security = SecurityOptions { rate_rps: 1e6, ..SecurityOptions::default() };
        Self::with(settings("memory:"), security).await
    }

    pub async fn with(settings: Settings, security: SecurityOptions) -> Self {
        let agent = agent(settings).await;
        let mut secrets = Vec::new();
        for scope in Scope::ALL {
            secrets.push((scope, key(&agent, &[scope]).await));
        }
        Self { served: Served::by(agent, security).await, secrets }
    }

    /// The secret of the key that has this scope only.
    pub fn secret(&self, scope: Scope) -> &str {
        &self.secrets.iter().find(|(held, _)| *held == scope).unwrap().1
    }

    pub async fn send(
        &self,
        scope: Scope,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> (u16, Value) {
        let url = format!("{}{path}", self.served.base);
        let request = self.served.client.request(method.parse().unwrap(), url);
        let request = request.bearer_auth(self.secret(scope));
        let request = body.iter().fold(request, |request, body| request.json(body));
        let (status, text) = told(request).await;
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    pub async fn get(&self, scope: Scope, path: &str) -> (u16, Value) {
        self.send(scope, "GET", path, None).await
    }

    pub async fn post(&self, scope: Scope, path: &str, body: Value) -> (u16, Value) {
        self.send(scope, "POST", path, Some(body)).await
    }
}

/// Every operation of the document: method, path with its parameters filled in, needed scope (`None`: no key).
pub fn operations() -> Vec<(String, String, Option<String>)> {
    let document = perf_agent::api::document();
    let mut found = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        let filled: Vec<&str> =
            path.split('/').map(|part| if part.starts_with('{') { "x" } else { part }).collect();
        for (method, operation) in methods.as_object().unwrap() {
            let scope = operation["security"][0]["bearer"][0].as_str().map(str::to_owned);
            found.push((method.to_uppercase(), filled.join("/"), scope));
        }
    }
    found
}

/// The events of a stream: name, id, data.
pub fn events(text: &str) -> Vec<(String, String, Value)> {
    let mut data = Vec::new();
    SseReader::new(1 << 22).feed(text.as_bytes(), |event| match event {
        SseEvent::Data(bytes) => data.push(serde_json::from_slice(bytes).unwrap()),
        SseEvent::TooLong => panic!("an event of over 4 MiB"),
    });
    let field = |block: &str, name: &str| {
        let value = block.lines().find_map(|line| line.strip_prefix(name));
        value.unwrap_or_default().trim().to_owned()
    };
    let blocks = text.split("\n\n").filter(|block| block.contains("data:"));
    blocks.zip(data).map(|(b, data)| (field(b, "event:"), field(b, "id:"), data)).collect()
}
