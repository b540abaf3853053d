//! Observing a server over HTTP, in hand-turned time.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use perf_agent::base::{Clock, Coded, ManualClock, Millis};
use perf_agent::domain::{
    Arm, Backend, EngineKind, Finish, Limits, Observation, RequestRecord, ServingConfig,
    TrafficTable,
};
use perf_agent::serving::{Backends, Error, Observe, ScrapeOptions, Scraped, TrafficPlane};

use super::external::deployment;

const FIRST: &str = include_str!("pages/made_vllm_first.prom");
const LAST: &str = include_str!("pages/made_vllm_last.prom");

/// A server whose pages follow a script; when it runs out the last one repeats.
struct Server {
    pages: Mutex<VecDeque<(u16, &'static str)>>,
    answered: AtomicU64,
}

impl Server {
    fn new(pages: &[(u16, &'static str)]) -> Arc<Self> {
        let pages = Mutex::new(pages.iter().copied().collect());
        Arc::new(Self { pages, answered: AtomicU64::new(0) })
    }

    async fn serve(self: &Arc<Self>) -> Backend {
        let page = |State(server): State<Arc<Server>>| async move {
            server.answered.fetch_add(1, Ordering::SeqCst);
            let mut pages = server.pages.lock().unwrap();
            let (status, text) =
                if pages.len() > 1 { pages.pop_front().unwrap() } else { pages[0] };
            (StatusCode::from_u16(status).unwrap(), text)
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = Router::new().route("/metrics", get(page)).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Backend { id: "a".to_owned(), url }
    }
}

const START: Millis = Millis(1_000_000);
const INTERVAL_MS: u64 = 5000;

/// A clock that is turned on second by second, but never past a scrape that is due: each one happens at its time,
/// however slow this machine is.
struct Bench {
    clock: Arc<ManualClock>,
    server: Option<Arc<Server>>,
    scraped: Arc<Scraped>,
}

impl Bench {
    async fn new(pages: &[(u16, &'static str)], followed: bool) -> Self {
        let (server, clock) = (Server::new(pages), Arc::new(ManualClock::new(START)));
        let scraped = start(server.serve().await, &clock, followed);
        Self { clock, server: Some(server), scraped }
    }

    fn due(&self) -> bool {
        let scrapes = self.clock.now().since(START) / INTERVAL_MS + 1;
        self.server.as_ref().is_none_or(|s| s.answered.load(Ordering::SeqCst) >= scrapes)
    }

    async fn turning<T>(&self, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = tokio::time::sleep(Duration::from_millis(1)) => {
                    if self.due() {
                        self.clock.set(self.clock.now().plus(1000));
                    }
                }
            }
        }
    }

    async fn observe(&self, window_s: f64) -> Result<Observation, Error> {
        self.turning(self.scraped.observe(window_s, None)).await
    }

    async fn pass(&self, ms: u64) {
        self.turning(self.clock.sleep_ms(ms)).await;
    }
}

fn start(backend: Backend, clock: &Arc<ManualClock>, followed: bool) -> Arc<Scraped> {
    let mut chat = deployment(EngineKind::Vllm, ServingConfig::default());
    chat.limits = Limits { ttft_p95_ms: Some(500.0), ..Limits::default() };
    let backends = Backends::Fixed(vec![backend]);
    let plane = || -> Arc<dyn TrafficPlane> { Arc::new(Plane(clock.clone())) };
    let traffic = followed.then(plane);
    Scraped::start(&chat, backends, ScrapeOptions::default(), clock.clone(), traffic, None).unwrap()
}

#[tokio::test]
async fn it_waits_until_the_window_is_full_and_then_reads_it() {
    let bench = Bench::new(&[(200, FIRST), (200, FIRST), (200, LAST)], false).await;
    let seen = bench.observe(20.0).await.unwrap();
    assert!((15.0..=20.0).contains(&seen.window_s), "{}", seen.window_s);
    assert_eq!((seen.replicas, seen.running.unwrap().last), (1, 7.0));
    assert!((seen.finished_rps.unwrap() * seen.window_s - 30.0).abs() < 1e-9);
    assert_eq!(seen.client, None, "nobody follows the clients");
    let windows = bench.scraped.series(20.0, 10.0).await.unwrap();
    assert!(!windows.is_empty() && windows.iter().all(|window| window.window_s <= 10.0));
}

#[tokio::test]
async fn the_wrong_engine_is_said_at_once_and_not_after_the_wait() {
    let tgi = include_str!("pages/made_tgi_first.prom");
    let bench = Bench::new(&[(200, tgi)], false).await;
    let error = bench.observe(3600.0).await.unwrap_err();
    assert_eq!(error.code(), "serving.wrong_engine");
    assert!(bench.clock.now().since(START) < 60_000, "said at {:?}", bench.clock.now());
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_an_error_with_its_reason() {
    let clock = Arc::new(ManualClock::new(START));
    let nobody = Backend { id: "a".to_owned(), url: "http://127.0.0.1:1".to_owned() };
    let bench = Bench { scraped: start(nobody, &clock, false), clock, server: None };
    let error = bench.observe(10.0).await.unwrap_err();
    assert_eq!(error.code(), "serving.unreachable");
    assert!(error.to_string().contains("127.0.0.1:1/metrics"), "{error}");
    let error =
        Bench::new(&[(404, "no metrics here")], false).await.observe(10.0).await.unwrap_err();
    assert_eq!(error.code(), "serving.bad_answer");
}

#[tokio::test]
async fn a_server_that_stopped_answering_is_not_read_from_old_pages() {
    let script = [(200, FIRST), (200, FIRST), (200, LAST), (503, "gone")];
    let bench = Bench::new(&script, false).await;
    bench.observe(10.0).await.unwrap();
    bench.pass(60_000).await;
    let error = bench.observe(100.0).await.unwrap_err();
    assert_eq!(error.code(), "serving.bad_answer");
}

#[tokio::test]
async fn dropping_the_last_handle_ends_the_scraping() {
    let bench = Bench::new(&[(200, FIRST)], false).await;
    bench.pass(20_000).await;
    let Bench { clock, server, scraped } = bench;
    drop(scraped);
    let answered = server.as_ref().unwrap().answered.load(Ordering::SeqCst);
    clock.set(clock.now().plus(600_000));
    tokio::task::yield_now().await;
    assert_eq!(server.unwrap().answered.load(Ordering::SeqCst), answered);
}

/// A plane with one good, one slow, one failed and one canary request every second.
struct Plane(Arc<ManualClock>);

#[async_trait]
impl TrafficPlane for Plane {
    async fn apply(&self, _: &TrafficTable) -> Result<(), Error> {
        unreachable!("only records are read")
    }

    async fn observed(&self) -> Result<TrafficTable, Error> {
        unreachable!("only records are read")
    }

    async fn in_flight(&self, _: &str) -> Result<u64, Error> {
        unreachable!("only records are read")
    }

    async fn records(&self, after: u64) -> Result<(Vec<RequestRecord>, u64), Error> {
        // The record numbers are seconds.
        let now_s = self.0.now().0 / 1000;
        let seconds = after.saturating_add(1)..=now_s;
        Ok((seconds.flat_map(second).collect(), now_s))
    }

    async fn renew(&self) -> Result<(), Error> {
        unreachable!("only records are read")
    }
}

fn second(at_s: u64) -> [RequestRecord; 4] {
    let record = |arm, ttft_ms, finish| RequestRecord {
        arm,
        canary_probability: 0.0,
        session: "s".to_owned(),
        first_turn: true,
        randomized: true,
        started: Millis(at_s * 1000),
        finished: Millis(at_s * 1000),
        ttft_ms,
        tpot_ms: None,
        itl_max_ms: None,
        e2e_ms: ttft_ms,
        input_tokens: None,
        output_tokens: 1,
        status: 200,
        finish,
    };
    [
        record(Arm::Stable, Some(100.0), Finish::Complete),
        record(Arm::Stable, Some(900.0), Finish::Complete),
        record(Arm::Stable, None, Finish::Failed),
        record(Arm::Canary, Some(5.0), Finish::Complete),
    ]
}

#[tokio::test]
async fn what_clients_saw_is_the_stable_arms_and_counts_goodput_by_the_limits() {
    let bench = Bench::new(&[(200, FIRST), (200, LAST)], true).await;
    // Followed from the first scrape on: after the wait the whole window is known.
    bench.pass(40_000).await;
    let seen = bench.observe(20.0).await.unwrap();
    let client = seen.client.unwrap();
    assert_eq!(client.window_s, 20.0);
    assert_eq!(client.requests, client.requests_failed * 3, "the canary's are left out");
    assert!((client.error_rate.unwrap() - 1.0 / 3.0).abs() < 1e-9);
    let ratio = client.goodput_rps.unwrap() / client.finished_rps.unwrap();
    assert!((ratio - 0.5).abs() < 1e-9, "every other complete request met 500 ms");
}
