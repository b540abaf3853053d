//! What the data plane adds to a streamed answer: latency and CPU, against the same server called directly.
//!
//! Server, proxy and client each have a thread of their own; blocks of direct and proxied requests alternate, so that
//! a drift of the machine falls on both. A third way goes through a relay that only copies bytes between two sockets:
//! what any hop costs on this machine. Bar: p50 of the first token ≤ 60 µs over the relay.
#![allow(clippy::unwrap_used, reason = "a measurement that stops where it cannot go on")]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use perf_agent::base::SystemClock;
use perf_agent::domain::{Arm, ArmWeight, Backend, TrafficTable};
use perf_agent::proxy::{Proxy, ProxyOptions};
use perf_agent::serving::{EmbeddedProxy, TrafficPlane as _};

/// Tokens of an answer: each is one write of the server.
const TOKENS: [usize; 2] = [1, 20];
const BLOCK: usize = 250;
const BLOCKS: usize = 20;
/// Clock ticks per second of `/proc/self/stat` on Linux.
const TICKS_PER_S: f64 = 100.0;

fn main() {
    let server = on_a_thread(|ready| async move { serve(ready).await });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    let proxy = on_a_thread(move |ready| async move {
        let (control, state) = (path.join("control.sock"), path.join("table.json"));
        let listen = "127.0.0.1:0".parse().unwrap();
        let options = ProxyOptions::new(listen, control.clone(), state);
        let proxy = Proxy::bind(options, Arc::new(SystemClock)).await.unwrap();
        let listen = proxy.listen();
        let serving = tokio::spawn(proxy.serve(std::future::pending()));
        EmbeddedProxy::connect(control).apply(&table(server)).await.unwrap();
        ready.send(listen).unwrap();
        serving.await.unwrap();
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let relay = on_a_thread(move |ready| relay(server, ready));
    runtime.block_on(compare([("direct", server), ("relay", relay), ("proxy", proxy)]));
}

/// Runs a server on a thread with a runtime of its own; returns where it listens.
fn on_a_thread<F>(
    serve: impl FnOnce(std::sync::mpsc::Sender<SocketAddr>) -> F + Send + 'static,
) -> SocketAddr
where
    F: Future<Output = ()>,
{
    let (ready, listening) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(serve(ready));
    });
    listening.recv().unwrap()
}

fn table(server: SocketAddr) -> TrafficTable {
    let backends = vec![Backend { id: "server".to_owned(), url: format!("http://{server}") }];
    TrafficTable {
        generation: 1,
        salt: "bench".to_owned(),
        stable: ArmWeight { arm: Arm::Stable, backends },
        canary: None,
        canary_percent: 0.0,
        lease_ms: None,
    }
}

async fn serve(ready: std::sync::mpsc::Sender<SocketAddr>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    ready.send(listener.local_addr().unwrap()).unwrap();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let service = service_fn(|request: Request<Incoming>| async move {
            // The path begins with the number of tokens that is wanted.
            let wanted = request.uri().path().split('/').nth(1).unwrap().parse().unwrap();
            request.into_body().collect().await.unwrap();
            let answer = Response::builder().header("content-type", "text/event-stream");
            Ok::<_, Infallible>(answer.body(Tokens { left: wanted, pause: false }).unwrap())
        });
        tokio::spawn(
            hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service),
        );
    }
}

/// Copies bytes between two sockets and understands nothing.
async fn relay(server: SocketAddr, ready: std::sync::mpsc::Sender<SocketAddr>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    ready.send(listener.local_addr().unwrap()).unwrap();
    loop {
        let (mut client, _) = listener.accept().await.unwrap();
        client.set_nodelay(true).unwrap();
        tokio::spawn(async move {
            let mut server = tokio::net::TcpStream::connect(server).await.unwrap();
            server.set_nodelay(true).unwrap();
            tokio::io::copy_bidirectional(&mut client, &mut server).await
        });
    }
}

/// An answer whose tokens are separate writes: the body yields between two of them.
struct Tokens {
    left: usize,
    pause: bool,
}

impl Body for Tokens {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if std::mem::replace(&mut self.pause, false) {
            cx.waker().wake_by_ref();
            return std::task::Poll::Pending;
        }
        let Some(left) = self.left.checked_sub(1) else { return std::task::Poll::Ready(None) };
        (self.left, self.pause) = (left, true);
        let reason = if left == 0 { "\"stop\"" } else { "null" };
        let chunk = format!(
            "data: {{\"id\":\"chatcmpl-0123456789abcdef\",\"object\":\"chat.completion.chunk\",\"created\":1750000000,\
             \"model\":\"m\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\" word\"}},\"logprobs\":null,\
             \"finish_reason\":{reason}}}]}}\n\n"
        );
        std::task::Poll::Ready(Some(Ok(Frame::data(Bytes::from(chunk)))))
    }
}

type BenchClient = Client<HttpConnector, Full<Bytes>>;

/// Time to the first token and to the last byte.
async fn ask(
    client: &BenchClient,
    to: SocketAddr,
    tokens: usize,
    session: usize,
) -> (Duration, Duration) {
    let question = "word ".repeat(400);
    let body = serde_json::json!({
        "model": "m", "stream": true, "messages": [{"role": "user", "content": question}]
    });
    let request = Request::post(format!("http://{to}/{tokens}/v1/chat/completions"))
        .header("content-type", "application/json")
        .header("x-session-id", session.to_string())
        .body(Full::new(Bytes::from(body.to_string())))
        .unwrap();
    let sent = Instant::now();
    let mut answer = client.request(request).await.unwrap().into_body();
    answer.frame().await.unwrap().unwrap();
    let first = sent.elapsed();
    while let Some(frame) = answer.frame().await {
        frame.unwrap();
    }
    (first, sent.elapsed())
}

#[derive(Default)]
struct Series {
    first_us: Vec<f64>,
    total_us: Vec<f64>,
    cpu_s: f64,
}

impl Series {
    fn quantile(values: &[f64], q: f64) -> f64 {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        sorted[(q * (sorted.len() - 1) as f64) as usize]
    }

    fn print(&self, name: &str) {
        let at = Self::quantile;
        println!(
            "{name:>8}: first token p50 {:.0} p95 {:.0} µs, whole answer p50 {:.0} p95 {:.0} µs, CPU {:.0} µs per request",
            at(&self.first_us, 0.5),
            at(&self.first_us, 0.95),
            at(&self.total_us, 0.5),
            at(&self.total_us, 0.95),
            self.cpu_s * 1e6 / self.first_us.len() as f64,
        );
    }
}

async fn compare(ways: [(&str, SocketAddr); 3]) {
    let client: BenchClient = {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Client::builder(TokioExecutor::new()).build(connector)
    };
    for tokens in TOKENS {
        let mut series: [Series; 3] = Default::default();
        for block in 0..=BLOCKS {
            for ((_, to), series) in ways.iter().zip(&mut series) {
                let cpu_before = cpu_s();
                for session in 0..BLOCK {
                    let times = ask(&client, *to, tokens, block * BLOCK + session).await;
                    // The first block only warms up.
                    if block > 0 {
                        series.first_us.push(times.0.as_secs_f64() * 1e6);
                        series.total_us.push(times.1.as_secs_f64() * 1e6);
                    }
                }
                series.cpu_s += if block > 0 { cpu_s() - cpu_before } else { 0.0 };
            }
        }
        println!("answers of {tokens} tokens");
        ways.iter().zip(&series).for_each(|((name, _), series)| series.print(name));
        let [direct, relayed, proxied] = &series;
        print_added("a hop on this machine", direct, relayed);
        print_added("the proxy over a hop", relayed, proxied);
    }
}

fn print_added(what: &str, without: &Series, with: &Series) {
    let p50 = |values: &[f64]| Series::quantile(values, 0.5);
    println!(
        "  {what}: first token p50 +{:.0} µs, whole answer p50 +{:.0} µs, CPU +{:.0} µs per request",
        p50(&with.first_us) - p50(&without.first_us),
        p50(&with.total_us) - p50(&without.total_us),
        (with.cpu_s - without.cpu_s) * 1e6 / with.first_us.len() as f64,
    );
}

/// CPU time of this whole process, all threads [s].
fn cpu_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    // Fields after the command name, which is in brackets: utime and stime are the 12th and 13th.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks = |index: usize| fields[index].parse::<f64>().unwrap();
    (ticks(11) + ticks(12)) / TICKS_PER_S
}
