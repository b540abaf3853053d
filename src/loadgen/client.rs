//! One streaming request, timed as its user would.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::Arrival;
use crate::base::{Clock, Millis};
use crate::domain::{AnswerFacts, AnswerReader, Arm, Finish, RequestRecord};

/// Uvicorn closes unused connections after 5 s: give them up before.
const POOL_IDLE: Duration = Duration::from_secs(4);

/// Sends requests to one endpoint.
#[derive(Debug, Clone)]
pub(super) struct LoadClient {
    http: Client<HttpConnector, Full<Bytes>>,
    endpoint: Uri,
    timeout: Duration,
}

/// How far an exchange came.
#[derive(Debug, Default)]
struct Progress {
    status: u16,
    arm: Option<Arm>,
    reader: Option<AnswerReader>,
    whole: bool,
}

impl LoadClient {
    pub(super) fn new(endpoint: Uri, timeout: Duration) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let http = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE)
            .build(connector);
        Self { http, endpoint, timeout }
    }

    /// Sends `body` as a turn of its session and watches the answer to its end.
    pub(super) async fn send(
        &self,
        arrival: &Arrival,
        seed: u64,
        body: Bytes,
        clock: &dyn Clock,
    ) -> RequestRecord {
        let session = format!("load-{seed}-{}", arrival.session);
        let started = clock.now();
        let sent = Instant::now();
        let mut progress = Progress::default();
        // A timeout leaves in `progress` how far the exchange came; an error of the transport does the same.
        let exchange = self.exchange(&session, body, sent, &mut progress);
        let _ = tokio::time::timeout(self.timeout, exchange).await;
        let elapsed_ms = u64::try_from(sent.elapsed().as_millis()).unwrap_or(u64::MAX);
        record(progress, session, arrival.turn == 0, started, started.plus(elapsed_ms))
    }

    async fn exchange(
        &self,
        session: &str,
        body: Bytes,
        sent: Instant,
        progress: &mut Progress,
    ) -> Option<()> {
        let request = Request::post(self.endpoint.clone())
            .header("content-type", "application/json")
            .header("x-session-id", session)
            .body(Full::new(body))
            .ok()?;
        let answer = self.http.request(request).await.ok()?;
        progress.head(&answer);
        let mut answer = answer.into_body();
        while let Some(frame) = answer.frame().await {
            if let (Some(reader), Some(bytes)) = (&mut progress.reader, frame.ok()?.data_ref()) {
                reader.feed(bytes, sent.elapsed().as_secs_f64() * 1e3);
            }
        }
        progress.whole = true;
        Some(())
    }
}

impl Progress {
    fn head(&mut self, answer: &Response<Incoming>) {
        self.status = answer.status().as_u16();
        // Our own data plane says which arm answered.
        self.arm = answer.headers().get("x-served-arm").map(|arm| match arm.as_bytes() {
            b"canary" => Arm::Canary,
            _ => Arm::Stable,
        });
        self.reader = (self.status < 400).then(AnswerReader::streamed);
    }

    fn finish(&self, facts: &AnswerFacts) -> Finish {
        match self.status {
            0 | 400.. => Finish::Failed,
            _ if facts.finished && self.whole => Finish::Complete,
            _ => Finish::Cut,
        }
    }
}

fn record(
    progress: Progress,
    session: String,
    first_turn: bool,
    started: Millis,
    finished: Millis,
) -> RequestRecord {
    let facts = progress.reader.as_ref().map(AnswerReader::facts).unwrap_or_default();
    let finish = progress.finish(&facts);
    RequestRecord {
        arm: progress.arm.unwrap_or(Arm::Stable),
        canary_probability: 0.0,
        session,
        first_turn,
        // Synthetic sessions are no evidence about users.
        randomized: false,
        started,
        finished,
        ttft_ms: facts.ttft_ms,
        tpot_ms: facts.tpot_ms,
        itl_max_ms: facts.itl_max_ms,
        e2e_ms: facts.e2e_ms.filter(|_| finish == Finish::Complete),
        input_tokens: facts.input_tokens,
        output_tokens: facts.output_tokens,
        status: progress.status,
        finish,
    }
}
