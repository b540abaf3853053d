//! A proxy on a hand-turned clock, and clients for it.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use perf_agent::base::{ManualClock, Millis};
use perf_agent::domain::{Arm, ArmWeight, Backend, Finish, RequestRecord, TrafficTable};
use perf_agent::proxy::{Proxy, ProxyOptions};
use perf_agent::serving::{EmbeddedProxy, TrafficPlane as _};
use tokio_util::sync::CancellationToken;

use super::fake_server::FakeServer;

/// A running proxy.
pub struct Harness {
    pub url: String,
    pub plane: EmbeddedProxy,
    pub clock: Arc<ManualClock>,
    pub control: PathBuf,
    pub state_file: PathBuf,
    shutdown: CancellationToken,
    serving: Option<tokio::task::JoinHandle<()>>,
    _folder: Option<tempfile::TempDir>,
}

impl Harness {
    pub async fn start() -> Self {
        Self::with(|_| ()).await
    }

    /// A proxy with other options than the usual ones.
    pub async fn with(change: impl FnOnce(&mut ProxyOptions)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let paths = (folder.path().join("control.sock"), folder.path().join("table.json"));
        let mut harness = Self::at(paths.0, paths.1, change).await;
        harness._folder = Some(folder);
        harness
    }

    async fn at(
        control: PathBuf,
        state_file: PathBuf,
        change: impl FnOnce(&mut ProxyOptions),
    ) -> Self {
        let clock = Arc::new(ManualClock::new(Millis(1_000_000)));
        let listen = "127.0.0.1:0".parse().unwrap();
        let mut options = ProxyOptions::new(listen, control.clone(), state_file.clone());
        change(&mut options);
        let proxy = Proxy::bind(options, clock.clone()).await.unwrap();
        let url = format!("http://{}", proxy.listen());
        let shutdown = CancellationToken::new();
        let serving = tokio::spawn(proxy.serve(shutdown.clone().cancelled_owned()));
        let plane = EmbeddedProxy::connect(control.clone());
        Self {
            url,
            plane,
            clock,
            control,
            state_file,
            shutdown,
            serving: Some(serving),
            _folder: None,
        }
    }

    /// Ends this proxy in order and starts another one with the same files.
    pub async fn restart(mut self) -> Self {
        self.stop().await;
        let folder = self._folder.take();
        let (control, state_file) = (self.control.clone(), self.state_file.clone());
        let mut harness = Self::at(control, state_file, |_| ()).await;
        harness._folder = folder;
        harness
    }

    /// Begins the shutdown and waits until the last stream has ended.
    pub async fn stop(&mut self) {
        self.shutdown.cancel();
        self.serving.take().unwrap().await.unwrap();
    }

    /// Begins the shutdown and does not wait.
    pub fn begin_shutdown(&self) {
        self.shutdown.cancel();
    }

    /// Every record so far.
    pub async fn records(&self) -> Vec<RequestRecord> {
        self.plane.records(0).await.unwrap().0
    }

    /// Waits until there are `count` records.
    pub async fn wait_for_records(&self, count: usize) -> Vec<RequestRecord> {
        loop {
            let records = self.records().await;
            if records.len() >= count {
                return records;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Waits until `backend` has `count` requests under way.
    pub async fn wait_for_in_flight(&self, backend: &str, count: u64) {
        while self.plane.in_flight(backend).await.unwrap() != count {
            tokio::task::yield_now().await;
        }
    }
}

/// A table: stable and canary by their servers.
pub fn table(
    generation: u64,
    stable: &[&FakeServer],
    canary: &[&FakeServer],
    canary_percent: f64,
) -> TrafficTable {
    let arm = |arm, name: &str, servers: &[&FakeServer]| ArmWeight {
        arm,
        backends: servers
            .iter()
            .enumerate()
            .map(|(i, server)| Backend { id: format!("{name}-{i}"), url: server.url.clone() })
            .collect(),
    };
    TrafficTable {
        generation,
        salt: "rollout-1".to_owned(),
        stable: arm(Arm::Stable, "stable", stable),
        canary: (!canary.is_empty()).then(|| arm(Arm::Canary, "canary", canary)),
        canary_percent,
        lease_ms: None,
    }
}

/// A port on which nobody listens.
pub async fn dead_url() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// A user's client.
#[derive(Clone)]
pub struct User(Client<HttpConnector, Full<Bytes>>);

impl User {
    pub fn new() -> Self {
        Self(Client::builder(TokioExecutor::new()).build_http())
    }

    /// Asks for a streamed answer in a session.
    pub async fn ask(&self, url: &str, session: &str) -> Response<Incoming> {
        self.ask_with(url, &[("x-session-id", session)]).await
    }

    pub async fn ask_with(&self, url: &str, headers: &[(&str, &str)]) -> Response<Incoming> {
        let body = r#"{"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}]}"#;
        self.send(url, headers, body).await
    }

    pub async fn send(
        &self,
        url: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Response<Incoming> {
        let mut request = Request::post(format!("{url}/v1/chat/completions"))
            .header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.0.request(request.body(Full::new(body.to_owned().into())).unwrap()).await.unwrap()
    }

    pub async fn get(&self, url: &str, path: &str) -> Response<Incoming> {
        let request = Request::get(format!("{url}{path}")).body(Full::default()).unwrap();
        self.0.request(request).await.unwrap()
    }
}

/// The arm that answered, as the proxy says.
pub fn arm_of<B>(answer: &Response<B>) -> Arm {
    match answer.headers()["x-served-arm"].as_bytes() {
        b"canary" => Arm::Canary,
        _ => Arm::Stable,
    }
}

/// The whole body as text; an error when it broke off.
pub async fn text(answer: Response<Incoming>) -> Result<String, hyper::Error> {
    let body = answer.into_body().collect().await?.to_bytes();
    Ok(String::from_utf8(body.to_vec()).unwrap())
}

/// How many records ended this way.
pub fn count(records: &[RequestRecord], finish: Finish) -> usize {
    records.iter().filter(|record| record.finish == finish).count()
}
