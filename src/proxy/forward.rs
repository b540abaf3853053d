//! From a client's request to a backend's answer.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONTENT_TYPE, EXPECT, HOST, HeaderValue, RETRY_AFTER};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;

use crate::base::{Clock, Rng, SeededRng};
use crate::domain::Arm;

use super::body::ProxyBody;
use super::flight::{Began, End, Flight, Journal};
use super::headers;
use super::request_body::{self, Read, RequestBody};
use super::routing::{Assigned, Router, Routing, Try};
use super::session_key::{SESSION_HEADER, session_key};
use super::upstream::{self, HttpClient, NoAnswer};
use super::{ProxyOptions, metrics::Metrics};

/// Everything a request needs.
pub struct Forwarder {
    /// The table in force.
    pub router: Arc<Router>,
    /// Where records go.
    pub journal: Arc<Journal>,
    /// Waits and limits.
    pub options: ProxyOptions,
    client: HttpClient<RequestBody>,
    clock: Arc<dyn Clock>,
    rng: Mutex<SeededRng>,
    /// Tells the request ids of two lives of the proxy apart.
    life: u64,
    requests: AtomicU64,
}

impl Forwarder {
    /// A forwarder that obeys `router`.
    pub fn new(
        options: ProxyOptions,
        router: Arc<Router>,
        journal: Arc<Journal>,
        clock: Arc<dyn Clock>,
        mut rng: SeededRng,
    ) -> Self {
        let client = upstream::client(options.connect_timeout, options.pool_idle);
        let life = rng.next_u64();
        let (rng, requests) = (Mutex::new(rng), AtomicU64::new(0));
        Self { router, journal, options, client, clock, rng, life, requests }
    }

    /// Answers one request of `client`.
    pub async fn handle(
        &self,
        request: Request<Incoming>,
        client: SocketAddr,
    ) -> Result<Response<ProxyBody>, Infallible> {
        let began = Began { at: self.clock.now(), instant: Instant::now() };
        let (mut parts, body) = request.into_parts();
        let id = self.request_id(&mut parts);
        let mut answer = self.answer(began, parts, body, client).await;
        answer.headers_mut().entry(headers::REQUEST_ID).or_insert(id);
        Ok(answer)
    }

    async fn answer(
        &self,
        began: Began,
        mut parts: Parts,
        body: Incoming,
        client: SocketAddr,
    ) -> Response<ProxyBody> {
        let Some(routing) = self.router.current() else {
            self.metrics().unrouted();
            return no_table();
        };
        let generation = is_generation(&parts);
        let read = match generation {
            true => request_body::read(body, self.options.body_limit).await,
            false => Ok(request_body::unread(body)),
        };
        let Ok(read) = read else {
            return failure(StatusCode::BAD_REQUEST, "proxy.bad_request", "the request broke off");
        };
        let assigned = self.assign(&routing, &parts, &read, generation);
        headers::strip_hop_by_hop(&mut parts.headers);
        headers::add_forwarded_for(&mut parts.headers, client.ip());
        parts.headers.remove(HOST);
        parts.headers.remove(EXPECT);
        if generation {
            // The answer is read on its way; a compressed one could not be.
            parts.headers.remove(ACCEPT_ENCODING);
        }
        let journal = generation.then(|| Arc::clone(&self.journal));
        self.try_backends(Attempts { began, assigned, journal }, routing, parts, read).await
    }

    /// Only generations are dealt between the arms. Everything else (models, health, metrics) is stable's, unless
    /// the client names a session or an arm.
    fn assign(&self, routing: &Routing, parts: &Parts, read: &Read, generation: bool) -> Assigned {
        let forced = headers::forced_arm(&parts.headers);
        let named = parts.headers.contains_key(SESSION_HEADER);
        let forced = if generation || named { forced } else { forced.or(Some(Arm::Stable)) };
        let body = match read {
            Read::Whole(bytes) if generation => Some(&bytes[..]),
            _ => None,
        };
        match session_key(&parts.headers, body) {
            Some(key) => routing.assign(&key, true, forced),
            None => {
                let random = self.rng.lock().unwrap_or_else(PoisonError::into_inner).next_u64();
                routing.assign(&format!("random:{random:016x}"), false, forced)
            }
        }
    }

    async fn try_backends(
        &self,
        mut attempts: Attempts,
        routing: Arc<Routing>,
        parts: Parts,
        read: Read,
    ) -> Response<ProxyBody> {
        let mut bodies = Bodies::of(read);
        let mut tries = routing.tries(&attempts.assigned).into_iter().peekable();
        while let (Some(Try { arm, backend }), Some(body)) = (tries.next(), bodies.next()) {
            let mut flight = attempts.begin(arm, &backend);
            let mut request = Request::new(body);
            *request.method_mut() = parts.method.clone();
            *request.uri_mut() = parts.uri.clone();
            *request.headers_mut() = parts.headers.clone();
            let wait = self.options.answer_timeout;
            let why = match upstream::call(&self.client, &backend, request, wait).await {
                Ok(answer) => return self.pass_on(answer, arm, flight),
                Err(why) => why,
            };
            flight.ended(End::Broken);
            let next = tries.peek().filter(|_| why == NoAnswer::Connect && bodies.can_repeat());
            let Some(next) = next else { return no_answer(why, &backend.id) };
            self.metrics().retried();
            if next.arm == arm {
                flight.discard();
            } else {
                // The canary took no connection: that is a failure of the canary, though stable will answer.
                drop(flight);
                attempts.fall_back();
            }
        }
        failure(StatusCode::BAD_GATEWAY, "proxy.no_backend", "no backend could be tried")
    }

    fn pass_on(
        &self,
        answer: Response<Incoming>,
        arm: Arm,
        mut flight: Flight,
    ) -> Response<ProxyBody> {
        let (mut parts, body) = answer.into_parts();
        let kind = parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        flight.answered(parts.status.as_u16(), kind);
        headers::strip_hop_by_hop(&mut parts.headers);
        parts.headers.insert(headers::SERVED_ARM, headers::arm_value(arm));
        // HTTP/1.0 of an old backend is not the client's affair.
        parts.version = http::Version::HTTP_11;
        Response::from_parts(parts, ProxyBody::passed(body, flight, self.options.idle_timeout))
    }

    /// The client's own request id, else a new one.
    fn request_id(&self, parts: &mut Parts) -> HeaderValue {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let id = parts.headers.entry(headers::REQUEST_ID).or_insert_with(|| {
            HeaderValue::from_str(&format!("{:08x}-{number:x}", self.life >> 32))
                .unwrap_or(HeaderValue::from_static("unknown"))
        });
        id.clone()
    }

    fn metrics(&self) -> &Metrics {
        &self.journal.metrics
    }
}

/// What the attempts of one request have in common.
struct Attempts {
    began: Began,
    assigned: Assigned,
    journal: Option<Arc<Journal>>,
}

impl Attempts {
    fn begin(&self, arm: Arm, backend: &Arc<super::backends::BackendState>) -> Flight {
        Flight::begin(self.journal.clone(), self.began, arm, self.assigned.clone(), backend)
    }

    /// What follows is not what the session was dealt: not evidence.
    fn fall_back(&mut self) {
        self.assigned.randomized = false;
        self.assigned.first_turn = false;
    }
}

/// Hands out the body: a whole one again and again, a streamed one once.
enum Bodies {
    Whole(Bytes),
    Once(Option<RequestBody>),
}

impl Bodies {
    fn of(read: Read) -> Self {
        match read {
            Read::Whole(bytes) => Self::Whole(bytes),
            Read::Streamed(body) => Self::Once(Some(body)),
        }
    }

    fn next(&mut self) -> Option<RequestBody> {
        match self {
            Self::Whole(bytes) => Some(RequestBody::Whole(Full::new(bytes.clone()))),
            Self::Once(body) => body.take(),
        }
    }

    fn can_repeat(&self) -> bool {
        matches!(self, Self::Whole(_))
    }
}

/// Whether a request asks for tokens in OpenAI's dialect: those are dealt and recorded.
fn is_generation(parts: &Parts) -> bool {
    parts.method == Method::POST && parts.uri.path().ends_with("/completions")
}

fn no_table() -> Response<ProxyBody> {
    let text = "no backend is configured yet";
    let mut answer = failure(StatusCode::SERVICE_UNAVAILABLE, "proxy.no_table", text);
    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    answer
}

fn no_answer(why: NoAnswer, backend: &str) -> Response<ProxyBody> {
    let (status, code, what) = match why {
        NoAnswer::Connect => (StatusCode::BAD_GATEWAY, "proxy.connect", "takes no connection"),
        NoAnswer::Broken => {
            (StatusCode::BAD_GATEWAY, "proxy.broken", "broke off before it answered")
        }
        NoAnswer::Timeout => {
            (StatusCode::GATEWAY_TIMEOUT, "proxy.timeout", "did not answer in time")
        }
    };
    failure(status, code, &format!("backend `{backend}` {what}"))
}

/// An error in the shape that OpenAI's clients read.
fn failure(status: StatusCode, code: &str, message: &str) -> Response<ProxyBody> {
    let error = serde_json::json!({
        "error": {"message": message, "type": "proxy_error", "param": null, "code": code}
    });
    let mut answer = Response::new(ProxyBody::own(error.to_string()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}
