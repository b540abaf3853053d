//! Refusals in the seed's two shapes: a list of invalid fields, or a status with a message.

use axum::Json;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};

use super::stamp;
use crate::api::Error;
use crate::api::error::status_of;
use crate::base::{Clock, Coded, Problem, SystemClock};

/// Why a request is refused.
#[derive(Debug, Clone)]
pub(super) enum Refusal {
    /// A status and what is said of it.
    Http(StatusCode, String),
    /// 422 with every field that does not fit.
    Invalid(Vec<Invalid>),
}

/// A field that does not fit.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Invalid {
    /// Where: `body.instance_id`.
    pub(super) field: String,
    /// What is wrong with it.
    pub(super) message: String,
    /// Kind of mistake: `missing`, `string_type` …
    pub(super) r#type: &'static str,
}

impl Refusal {
    /// 404.
    pub(super) fn missing(message: String) -> Self {
        Self::Http(StatusCode::NOT_FOUND, message)
    }

    /// 400.
    pub(super) fn bad(message: String) -> Self {
        Self::Http(StatusCode::BAD_REQUEST, message)
    }

    /// 409.
    pub(super) fn conflict(message: String) -> Self {
        Self::Http(StatusCode::CONFLICT, message)
    }

    /// 500: a server does not answer, or not as it should.
    pub(super) fn unread(message: String) -> Self {
        Self::Http(StatusCode::INTERNAL_SERVER_ERROR, message)
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Http(status, _) => *status,
            Self::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
        }
    }

    fn body(&self, path: &str) -> Value {
        let timestamp = stamp(SystemClock.now());
        match self {
            Self::Http(status, message) => json!({
                "error": format!("http_{}", status.as_u16()), "message": message, "details": null,
                "timestamp": timestamp, "path": path, "request_id": null,
            }),
            Self::Invalid(details) => {
                let fields: Vec<&str> = details.iter().map(|one| one.field.as_str()).collect();
                json!({
                    "error": "validation_error", "message": "Request validation failed",
                    "details": details, "timestamp": timestamp, "path": path, "request_id": null,
                    "invalid_fields": fields,
                })
            }
        }
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        let message = told(&problem);
        match status_of(&problem.code) {
            status if status.is_client_error() => Self::Http(status, message),
            // The seed knows one status for what is not the caller's fault.
            _ => {
                tracing::error!(code = problem.code, "{problem}");
                Self::unread(message)
            }
        }
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        error.problem().into()
    }
}

impl From<crate::agent::Error> for Refusal {
    fn from(error: crate::agent::Error) -> Self {
        error.problem().into()
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Dresses the refusals of every route.
pub(super) async fn dress(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    dressed(&path, next.run(request).await)
}

/// Writes the body of a refusal, which names the path that was asked for; also of one that was refused before it came here.
pub(in crate::api) fn dressed(path: &str, response: Response) -> Response {
    let status = response.status();
    let extensions = response.extensions();
    let own = extensions.get::<Refusal>().cloned();
    let other = || extensions.get::<Problem>().map(|problem| Refusal::Http(status, told(problem)));
    let Some(refusal) = own.or_else(other) else { return response };
    let mut dressed = (refusal.status(), Json(refusal.body(path))).into_response();
    for name in [header::WWW_AUTHENTICATE, header::RETRY_AFTER] {
        if let Some(value) = response.headers().get(&name) {
            dressed.headers_mut().insert(name, value.clone());
        }
    }
    dressed
}

/// A problem in one line.
fn told(problem: &Problem) -> String {
    match problem.hint.is_empty() {
        true => problem.message.clone(),
        false => format!("{} ({})", problem.message, problem.hint),
    }
}
