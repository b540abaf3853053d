//! Refusals in the seed's two shapes: a list of invalid fields, or a status with a message.

use axum::Json;
use axum::extract::Request;
use axum::http::StatusCode;
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
        let hint =
            if problem.hint.is_empty() { String::new() } else { format!(" ({})", problem.hint) };
        let message = format!("{}{hint}", problem.message);
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

/// Writes the body of a refusal, which names the path that was asked for.
pub(super) async fn dress(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let response = next.run(request).await;
    match response.extensions().get::<Refusal>() {
        Some(refusal) => (refusal.status(), Json(refusal.body(&path))).into_response(),
        None => response,
    }
}
