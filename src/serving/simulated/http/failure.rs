//! Refusals in the shape that OpenAI's clients read.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// Why a request gets no answer.
#[derive(Debug)]
pub(super) struct Failure {
    status: StatusCode,
    message: String,
    param: Option<&'static str>,
}

impl Failure {
    /// 400: the request makes no sense; `param` is the field at fault.
    pub(super) fn bad(message: impl Into<String>, param: Option<&'static str>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, message: message.into(), param }
    }

    /// 400: prompt and answer together are longer than the engine takes.
    pub(super) fn too_long(max_model_len: u32, input_tokens: u32, output_tokens: u32) -> Self {
        let message = format!(
            "This model's maximum context length is {max_model_len} tokens. However, you requested \
             {} tokens ({input_tokens} in the messages, {output_tokens} in the completion). Please \
             reduce the length of the messages or completion.",
            u64::from(input_tokens) + u64::from(output_tokens)
        );
        Self::bad(message, Some("input_tokens"))
    }

    /// 404: another model is served.
    pub(super) fn unknown_model(model: &str) -> Self {
        let message = format!("The model `{model}` does not exist.");
        Self { status: StatusCode::NOT_FOUND, message, param: Some("model") }
    }

    /// 404 or 405: nothing is here.
    pub(super) fn nothing_here(status: StatusCode) -> Self {
        let message = status.canonical_reason().unwrap_or_default().to_owned();
        Self { status, message, param: None }
    }

    /// 503: the engine takes no more for now.
    pub(super) fn queue_full() -> Self {
        let message = "The engine's queue is full. Please try again later.".to_owned();
        Self { status: StatusCode::SERVICE_UNAVAILABLE, message, param: None }
    }

    /// 500: the engine is gone, as at the end of the process.
    pub(super) fn engine_gone() -> Self {
        let message = "The engine has stopped.".to_owned();
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, message, param: None }
    }

    fn kind(&self) -> &'static str {
        match self.status {
            StatusCode::BAD_REQUEST => "BadRequestError",
            StatusCode::NOT_FOUND => "NotFoundError",
            StatusCode::SERVICE_UNAVAILABLE => "ServiceUnavailableError",
            StatusCode::INTERNAL_SERVER_ERROR => "InternalServerError",
            _ => "InvalidRequestError",
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let body = json!({"error": {
            "message": self.message,
            "type": self.kind(),
            "param": self.param,
            "code": self.status.as_u16(),
        }});
        (self.status, Json(body)).into_response()
    }
}
