//! What an orchestrator is told of an agent that listens everywhere, and of one that stops while it registers.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::Uri;
use perf_agent::api::{
    McpAccess, OrchestratorOptions, Scope, SecurityOptions, Server, ServerOptions,
};
use perf_agent::base::SystemClock;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::support::{agent, key, settings};

type Heard = (mpsc::UnboundedSender<(String, Value)>, Arc<Semaphore>);

async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what).await.unwrap()
}

/// Answers each call once it is allowed to.
async fn answer(
    State((heard, allowed)): State<Heard>,
    uri: Uri,
    body: String,
) -> axum::Json<Value> {
    let _ = heard.send((uri.path().to_owned(), serde_json::from_str(&body).unwrap()));
    allowed.acquire().await.unwrap().forget();
    axum::Json(json!({"agent_id": "a1", "heartbeat_interval_seconds": 30}))
}

/// An orchestrator: where it is, what it hears, and what lets it answer.
async fn orchestrator() -> (String, mpsc::UnboundedReceiver<(String, Value)>, Arc<Semaphore>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (sender, heard) = mpsc::unbounded_channel();
    let allowed = Arc::new(Semaphore::new(0));
    let router = Router::new().fallback(answer).with_state((sender, allowed.clone()));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (url, heard, allowed)
}

/// A server with a key at `listen` that reports to `url`; its port.
async fn reporting(listen: &str, url: &str) -> (u16, CancellationToken, JoinHandle<()>) {
    let agent = agent(settings("memory:")).await;
    key(&agent, &[Scope::Admin]).await;
    let listen = listen.parse().unwrap();
    let security = SecurityOptions::default();
    let options = ServerOptions { listen, config: None, mcp: McpAccess::default(), security };
    let server = Server::bind(agent, options).await.unwrap().reporting_to(OrchestratorOptions {
        url: url.to_owned(),
        prefix: String::new(),
        name: "tuner".to_owned(),
        host: None,
        clock: Arc::new(SystemClock),
        seed: 1,
    });
    let port = server.listen().port();
    let stop = CancellationToken::new();
    let stopped = stop.clone().cancelled_owned();
    (port, stop, tokio::spawn(async move { server.serve(stopped).await.unwrap() }))
}

#[tokio::test]
async fn an_agent_that_listens_everywhere_says_where_it_can_be_called() {
    for listen in ["0.0.0.0:0", "127.0.0.1:0"] {
        let (url, mut heard, allowed) = orchestrator().await;
        allowed.add_permits(99);
        let (port, stop, serving) = reporting(listen, &url).await;
        let (path, introduced) = within(heard.recv()).await.unwrap();
        assert_eq!(path, "/agents/register");
        let said = (&introduced["host"], &introduced["port"]);
        assert_eq!(said, (&json!("127.0.0.1"), &json!(port)), "{listen}");
        stop.cancel();
        within(serving).await.unwrap();
    }
}

#[tokio::test]
async fn an_agent_that_stops_while_it_registers_is_taken_out_again() {
    let (url, mut heard, allowed) = orchestrator().await;
    let (_, stop, serving) = reporting("127.0.0.1:0", &url).await;
    assert_eq!(within(heard.recv()).await.unwrap().0, "/agents/register");
    stop.cancel();
    // It is told only now that it is registered.
    tokio::time::sleep(Duration::from_millis(50)).await;
    allowed.add_permits(99);
    assert_eq!(within(heard.recv()).await.unwrap().0, "/agents/a1/unregister");
    within(serving).await.unwrap();
}
