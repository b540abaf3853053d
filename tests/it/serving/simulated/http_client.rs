//! A simulated engine that serves, and the plain client that asks it.

use std::time::Duration;

use perf_agent::domain::{Knob, KnobValue, ServingConfig};
use perf_agent::serving::exposition::Exposition;
use perf_agent::serving::http_client;
use perf_agent::serving::simulated::{WorldSpec, serve};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

pub const MODEL: &str = "meta-llama/Llama-3.1-8B-Instruct";

/// A server of this test; it ends with the value.
pub struct Simulated {
    pub url: String,
    pub client: reqwest::Client,
    _shutdown: oneshot::Sender<()>,
}

impl Simulated {
    /// Serves at fifty times real time, with `knobs` set.
    pub async fn start(knobs: &[(Knob, i64)]) -> Self {
        let mut config = ServingConfig::default().with(Knob::MaxModelLen, KnobValue::Int(8192));
        for (knob, value) in knobs {
            config = config.with(*knob, KnobValue::Int(*value));
        }
        let spec = WorldSpec { config, ..WorldSpec::default() };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (shutdown, stopped) = oneshot::channel::<()>();
        tokio::spawn(async move {
            serve(spec, listener, 50.0, async { drop(stopped.await) }).await.unwrap();
        });
        let client = http_client(Duration::from_secs(20)).unwrap();
        Self { url, client, _shutdown: shutdown }
    }

    pub async fn post(&self, path: &str, body: String) -> reqwest::Response {
        let request = self.client.post(format!("{}{path}", self.url)).body(body);
        request.header("content-type", "application/json").send().await.unwrap()
    }

    pub async fn chat(&self, extra: Value) -> reqwest::Response {
        let mut body = json!({"model": MODEL, "messages": [{"role": "user", "content": "Hello."}]});
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        self.post("/v1/chat/completions", body.to_string()).await
    }

    pub async fn get(&self, path: &str) -> reqwest::Response {
        self.client.get(format!("{}{path}", self.url)).send().await.unwrap()
    }

    /// Sum of a series of the metrics page, over the samples that have `label`.
    pub async fn metric(&self, name: &str, label: &str) -> f64 {
        let page = self.get("/metrics").await.text().await.unwrap();
        let chosen = page.lines().filter(|line| line.starts_with(name) && line.contains(label));
        let lines = chosen.collect::<Vec<_>>().join("\n");
        Exposition::parse(&lines).samples().iter().map(|sample| sample.value).sum()
    }

    /// Waits until a series has a value.
    pub async fn until(&self, name: &str, label: &str, value: f64) {
        for _ in 0..2_000 {
            if self.metric(name, label).await == value {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{name}{{{label}}} never was {value}");
    }
}

/// The `data:` of every event.
pub fn events(stream: &str) -> Vec<&str> {
    let events = stream.split("\n\n").filter(|event| !event.is_empty());
    events.map(|event| event.strip_prefix("data: ").unwrap()).collect()
}
