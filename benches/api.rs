//! The client of `benches/run api`: one thread, so many connections, each with one request at a time.
//!
//! `load ADDRESS PATH CONNECTIONS SECONDS`: a JSON line with requests per second and latencies; `/runs/wait` runs the graph
//! `trivial`, anything else is a GET. `streams ADDRESS COUNT`: makes so many threads, says `ready`, opens an event stream on
//! each when it gets a line, says `open`, and holds them until its input ends.
#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on should stop where it is")]

use std::io::BufRead as _;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hdrhistogram::Histogram;
use http::{Request, Response, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

/// Requests before the clock starts count for nothing.
const WARM_UP: Duration = Duration::from_millis(500);

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["load", address, path, connections, seconds] => {
            let seconds = Duration::from_secs(seconds.parse().unwrap());
            load(address, path, connections.parse().unwrap(), seconds).await;
        }
        ["streams", address, count] => streams(address, count.parse().unwrap()).await,
        // `cargo bench` runs every benchmark; this one needs a server.
        _ => eprintln!("benches/api.rs: run by `benches/run api`"),
    }
}

async fn connect(address: &str) -> SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn get(address: &str, path: &str) -> Request<Full<Bytes>> {
    Request::get(path).header(header::HOST, address).body(Full::default()).unwrap()
}

fn post(address: &str, path: &str, body: &Bytes) -> Request<Full<Bytes>> {
    let request = Request::post(path).header(header::HOST, address);
    let request = request.header(header::CONTENT_TYPE, "application/json");
    request.body(Full::new(body.clone())).unwrap()
}

/// What the answer must hold, so that an error is not taken for a fast answer.
async fn checked(response: Response<Incoming>, wanted: &[u8]) {
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let is_there = body.windows(wanted.len()).any(|part| part == wanted);
    assert!(status.is_success() && is_there, "{status}: {body:?}");
}

async fn load(address: &str, path: &str, connections: usize, seconds: Duration) {
    let runs = path == "/runs/wait";
    let begun = Instant::now();
    let (from, until) = (begun + WARM_UP, begun + WARM_UP + seconds);
    let workers = (0..connections).map(|_| {
        let (address, path) = (address.to_owned(), path.to_owned());
        tokio::spawn(async move {
            let body = json!({ "assistant_id": "trivial", "input": { "n": 1 } }).to_string();
            let body = Bytes::from(body);
            let mut took = Histogram::<u64>::new(3).unwrap();
            let mut sender = connect(&address).await;
            loop {
                sender.ready().await.unwrap();
                let asked = Instant::now();
                if asked >= until {
                    return took;
                }
                let request = match runs {
                    true => post(&address, &path, &body),
                    false => get(&address, &path),
                };
                let response = sender.send_request(request).await.unwrap();
                checked(response, if runs { br#""n":2"# } else { b"o" }).await;
                let answered = Instant::now();
                if asked >= from && answered <= until {
                    took.record((answered - asked).as_micros() as u64).unwrap();
                }
            }
        })
    });
    let mut all = Histogram::<u64>::new(3).unwrap();
    for worker in workers.collect::<Vec<_>>() {
        all.add(worker.await.unwrap()).unwrap();
    }
    let ms = |share: f64| all.value_at_quantile(share) as f64 / 1_000.0;
    let found = json!({
        "path": path, "connections": connections, "answers": all.len(),
        "per_s": (all.len() as f64 / seconds.as_secs_f64() * 10.0).round() / 10.0,
        "p50_ms": ms(0.5), "p99_ms": ms(0.99), "max_ms": ms(1.0),
    });
    println!("{found}");
}

async fn streams(address: &str, count: usize) {
    let mut sender = connect(address).await;
    let mut threads = Vec::with_capacity(count);
    for _ in 0..count {
        sender.ready().await.unwrap();
        let made =
            sender.send_request(post(address, "/threads", &Bytes::from("{}"))).await.unwrap();
        let body = made.into_body().collect().await.unwrap().to_bytes();
        let thread: Value = serde_json::from_slice(&body).unwrap();
        threads.push(thread["thread_id"].as_str().unwrap().to_owned());
    }
    println!("ready");
    std::io::stdin().lock().read_line(&mut String::new()).unwrap();
    let mut open = Vec::with_capacity(count);
    for thread in threads {
        let mut sender = connect(address).await;
        let stream = get(address, &format!("/threads/{thread}/stream"));
        let response = sender.send_request(stream).await.unwrap();
        assert!(response.status().is_success(), "{}", response.status());
        open.push((sender, response));
    }
    println!("open");
    // The connections are served meanwhile.
    let held = tokio::task::spawn_blocking(|| {
        std::io::stdin().lock().read_line(&mut String::new()).unwrap();
    });
    held.await.unwrap();
}
