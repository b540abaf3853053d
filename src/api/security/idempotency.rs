//! `Idempotency-Key`: the same request sent again is answered again, and starts nothing again.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Caller, admit};
use crate::agent::Agent;
use crate::api::Error;
use crate::api::state::App;
use crate::base::{Millis, stable_hash};

/// Collection of what was answered.
const ANSWERS: &str = "idempotency";
/// How long an answer is remembered [ms]: a day.
const KEPT_MS: u64 = 24 * 60 * 60 * 1_000;
/// Answers looked at when old ones are forgotten.
const LOOKED_AT_MAX: usize = 100_000;
/// Longest key [bytes].
const KEY_BYTES_MAX: usize = 255;
const HEADER: HeaderName = HeaderName::from_static("idempotency-key");
/// Marks an answer that was given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// Headers that belong to an answer.
const HEADERS: [HeaderName; 3] = [header::CONTENT_TYPE, header::LOCATION, header::CONTENT_LOCATION];

/// What is remembered of a request.
#[derive(Serialize, Deserialize)]
struct Kept {
    /// Hash of method, path and body.
    request: String,
    /// The process that took it on.
    process: String,
    at: Millis,
    /// `None`: it has not been answered, or not so that anybody knows what was started.
    answer: Option<Answer>,
    /// It was answered with a failure, and may have started something all the same.
    #[serde(default)]
    in_doubt: bool,
}

#[derive(Clone, Serialize, Deserialize)]
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

/// Answers a request that starts something, at most once per key.
pub(super) async fn once(app: &App, caller: &Caller, request: Request, next: Next) -> Response {
    let mut keys = request.headers().get_all(HEADER).iter();
    let Some(key) = keys.next() else { return next.run(request).await };
    let alone = keys.next().is_none();
    match key.to_str() {
        Ok(key) if alone && !key.is_empty() && key.len() <= KEY_BYTES_MAX => {
            let whose = caller.key_id().unwrap_or_default();
            let name = stable_hash(&[whose, key]);
            claimed(app, name, request, next).await.unwrap_or_else(IntoResponse::into_response)
        }
        _ => Error::IdempotencyKey.into_response(),
    }
}

async fn claimed(app: &App, name: String, request: Request, next: Next) -> Result<Response, Error> {
    let (parts, body) = request.into_parts();
    let body = admit::read(body).await?;
    let text = String::from_utf8_lossy(&body);
    let hash = stable_hash(&[parts.method.as_str(), parts.uri.path(), &text]);
    let now = app.security.clock.now();
    let documents = app.agent().documents().clone();
    let there = documents.get(ANSWERS, &name).await.map_err(Error::Store)?;
    let version = there.as_ref().map_or(0, |document| document.version);
    let kept: Option<Kept> = there.and_then(|document| serde_json::from_value(document.value).ok());
    if let Some(kept) = kept.filter(|kept| now.since(kept.at) < KEPT_MS) {
        return again(app, kept, &hash);
    }
    let process = app.register.name().to_owned();
    let mut claim = Kept { request: hash, process, at: now, answer: None, in_doubt: false };
    let put = documents.put(ANSWERS, &name, Some(version), json!(claim)).await;
    if put.map_err(Error::Store)?.is_none() {
        return Err(Error::IdempotencyBusy);
    }
    // Whoever asked may go: what was begun is ended, and its answer is there for the next time.
    let request = Request::from_parts(parts, Body::from(body));
    let done = app.work.spawn(async move {
        let answer = answer_of(next.run(request).await).await?;
        match answer.status {
            ..300 => claim.answer = Some(answer.clone()),
            // It failed somewhere: something may have been started.
            500.. => claim.in_doubt = true,
            _ => {
                // Nothing was started: the same key may try again.
                documents.remove(ANSWERS, &name).await.map_err(Error::Store)?;
                return Ok(response_of(answer, false));
            }
        }
        documents.put(ANSWERS, &name, None, json!(claim)).await.map_err(Error::Store)?;
        Ok::<_, Error>(response_of(answer, false))
    });
    done.await.unwrap_or(Err(Error::IdempotencyInDoubt))
}

/// The answer to a request whose key was there before.
fn again(app: &App, kept: Kept, hash: &str) -> Result<Response, Error> {
    if kept.request != hash {
        return Err(Error::IdempotencyMismatch);
    }
    match kept.answer {
        Some(answer) => Ok(response_of(answer, true)),
        None if kept.in_doubt => Err(Error::IdempotencyInDoubt),
        None if kept.process == app.register.name() => Err(Error::IdempotencyBusy),
        None => Err(Error::IdempotencyInDoubt),
    }
}

async fn answer_of(response: Response) -> Result<Answer, Error> {
    let (parts, body) = response.into_parts();
    let body = admit::read(body).await?;
    let text = |name: &HeaderName| {
        let value = parts.headers.get(name)?.to_str().ok()?;
        Some((name.to_string(), value.to_owned()))
    };
    Ok(Answer {
        status: parts.status.as_u16(),
        headers: HEADERS.iter().filter_map(text).collect(),
        body: String::from_utf8_lossy(&body).into_owned(),
    })
}

fn response_of(answer: Answer, replayed: bool) -> Response {
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or_default();
    for (name, value) in answer.headers {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse::<HeaderValue>()) {
            response.headers_mut().insert(name, value);
        }
    }
    if replayed {
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    }
    response
}

/// Forgets answers that nobody will ask for again.
///
/// Errors: a store that fails.
pub(in crate::api) async fn forget_old(agent: &Agent, now: Millis) -> Result<(), Error> {
    let documents = agent.documents();
    for document in documents.list(ANSWERS, LOOKED_AT_MAX).await.map_err(Error::Store)? {
        let kept: Option<Kept> = serde_json::from_value(document.value).ok();
        if kept.is_none_or(|kept| now.since(kept.at) >= KEPT_MS) {
            documents.remove(ANSWERS, &document.key).await.map_err(Error::Store)?;
        }
    }
    Ok(())
}
