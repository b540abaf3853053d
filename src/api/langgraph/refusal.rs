//! Refusals as LangGraph's clients expect them: `{"detail": …}`. The stable code is in the header `x-error-code`.

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::agent;
use crate::api::error::status_of;
use crate::base::{Coded, Problem, ThreadId};

/// Carries the stable code of a refusal.
const ERROR_CODE: HeaderName = HeaderName::from_static("x-error-code");

/// Why a request of LangGraph's protocol is refused.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    code: String,
    detail: String,
}

impl Refusal {
    fn new(status: StatusCode, code: &str, detail: String) -> Self {
        Self { status, code: code.to_owned(), detail }
    }

    /// 404.
    pub(super) fn missing(detail: String) -> Self {
        Self::new(StatusCode::NOT_FOUND, "api.not_found", detail)
    }

    /// 422.
    pub(super) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "api.invalid_request", detail.into())
    }

    /// 409.
    pub(super) fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "api.conflict", detail.into())
    }

    /// No such thread.
    pub(super) fn no_thread(thread: &ThreadId) -> Self {
        Self::missing(format!("Thread with ID {thread} not found"))
    }

    /// No such run.
    pub(super) fn no_run(run: &str) -> Self {
        Self::missing(format!("Run with ID {run} not found"))
    }

    /// A thread that is at work, and a caller who does not want to wait.
    pub(super) fn busy() -> Self {
        Self::conflict(
            "Thread is already running a task. Wait for it to finish or choose a different multitask strategy.",
        )
    }

    /// What is said of it.
    pub(super) fn detail(&self) -> &str {
        &self.detail
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        let status = status_of(&problem.code);
        if status.is_server_error() {
            tracing::error!(code = problem.code, "{problem}");
        }
        let Problem { code, message, hint } = problem;
        let hint = if hint.is_empty() { hint } else { format!(" ({hint})") };
        Self::new(status, &code, format!("{message}{hint}"))
    }
}

impl From<agent::Error> for Refusal {
    fn from(error: agent::Error) -> Self {
        match &error {
            agent::Error::UnknownThread(thread) => Self::no_thread(&ThreadId(thread.clone())),
            _ => error.problem().into(),
        }
    }
}

impl From<crate::api::Error> for Refusal {
    fn from(error: crate::api::Error) -> Self {
        error.problem().into()
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(json!({"detail": self.detail}))).into_response();
        if let Ok(code) = HeaderValue::from_str(&self.code) {
            response.headers_mut().insert(ERROR_CODE, code);
        }
        response
    }
}

/// The shape of every refusal of LangGraph's protocol.
#[derive(serde::Serialize, utoipa::ToSchema)]
pub(in crate::api) struct Detail {
    /// What is wrong.
    detail: String,
}

/// The JSON body of a request.
pub(super) struct Input<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Input<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let headers = request.headers();
        let empty = !headers.contains_key(header::CONTENT_TYPE)
            && headers.get(header::CONTENT_LENGTH).is_none_or(|length| length == "0");
        if empty {
            let nothing = serde_json::from_value(json!({}));
            return nothing.map(Self).map_err(|error| Refusal::invalid(error.to_string()));
        }
        let read: Result<Json<T>, JsonRejection> = Json::from_request(request, state).await;
        read.map(|Json(value)| Self(value)).map_err(|rejection| {
            Refusal::new(rejection.status(), "api.invalid_body", rejection.body_text())
        })
    }
}

/// The query of a request.
pub(super) struct Params<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let read: Result<Query<T>, QueryRejection> = Query::from_request_parts(parts, state).await;
        read.map(|Query(value)| Self(value))
            .map_err(|rejection| Refusal::invalid(rejection.body_text()))
    }
}
