//! Errors as RFC 9457 problem details: the only place that knows which code has which status.

use std::net::SocketAddr;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::agent;
use crate::base::{Coded, Problem, ThreadId};

/// Why a request was refused or failed, or a server did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The agent refused or failed.
    #[error(transparent)]
    Agent(#[from] agent::Error),
    /// A run ended in an error of its own.
    #[error("{0}")]
    Run(Problem),
    /// The body cannot be read as what was expected.
    #[error("{detail}")]
    Body {
        /// 400 no JSON, 413 too long, 415 another content type, 422 JSON of another shape.
        status: StatusCode,
        /// What is wrong.
        detail: String,
    },
    /// A value that no request may have.
    #[error("{0}")]
    InvalidRequest(String),
    /// The store of checkpoints failed.
    #[error("{0}")]
    Store(Problem),
    /// A copy to a thread that has checkpoints.
    #[error("thread `{0}` has checkpoints of its own")]
    ThreadExists(String),
    /// An answer to a thread on which nothing ran yet.
    #[error("thread `{0}` asks nothing: no run of it has begun")]
    NothingAsked(ThreadId),
    /// No such deployment.
    #[error("there is no deployment `{name}`; there are: {known}")]
    NoDeployment {
        /// Asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// Nothing is kept under this id.
    #[error("there is no {what} `{id}`")]
    NotKept {
        /// `rollout`, `trial`, `analysis`, `prompt`.
        what: &'static str,
        /// Its id.
        id: String,
    },
    /// Another task has this id.
    #[error("task `{0}` was another one: same id, other type or parameters")]
    TaskExists(String),
    /// A trial that runs cannot be forgotten.
    #[error("trial `{0}` runs")]
    TrialRuns(String),
    /// No such path.
    #[error("there is nothing at `{0}`")]
    NoRoute(String),
    /// A path that answers to other methods.
    #[error("`{path}` does not answer to {method}")]
    Method {
        /// Path.
        path: String,
        /// Method.
        method: String,
    },
    /// The request took too long.
    #[error("no answer within {0} s")]
    Timeout(u64),
    /// The server is going down.
    #[error("this server is stopping; the run goes on when it is started again")]
    Stopping,
    /// A page of another site, or a name that is not this machine's, speaks through somebody's browser.
    #[error("`{header}: {value}` is not this machine")]
    Foreign {
        /// Header.
        header: &'static str,
        /// Its value.
        value: String,
    },
    /// A bind that others could reach, without keys.
    #[error("{0} can be reached from other machines, and there are no keys to tell callers apart")]
    NotLoopback(SocketAddr),
    /// A tool that changes something, where MCP clients are offered those that read.
    #[error("`{0}` changes something, and this server offers only what reads")]
    NotOffered(String),
    /// The client at the other end of the pipes speaks something else.
    #[error("stdin and stdout: {0}")]
    Pipes(String),
    /// The address cannot be taken.
    #[error("{listen} cannot be taken: {source}")]
    Listen {
        /// Address.
        listen: SocketAddr,
        /// Cause.
        source: std::io::Error,
    },
}

impl Coded for Error {
    fn code(&self) -> &'static str {
        match self {
            Self::Agent(error) => error.code(),
            Self::Run(_) => "agent.run_failed",
            Self::Body { .. } => "api.invalid_body",
            Self::InvalidRequest(_) => "api.invalid_request",
            Self::Store(_) => "runtime.store",
            Self::ThreadExists(_) => "api.thread_exists",
            Self::NothingAsked(_) => "api.nothing_asked",
            Self::NoDeployment { .. } => "api.unknown_deployment",
            Self::NotKept { .. } => "api.not_found",
            Self::TaskExists(_) => "api.task_exists",
            Self::TrialRuns(_) => "api.trial_runs",
            Self::NoRoute(_) => "api.unknown_route",
            Self::Method { .. } => "api.method_not_allowed",
            Self::Timeout(_) => "api.timeout",
            Self::Stopping => "api.stopping",
            Self::Foreign { .. } => "api.foreign",
            Self::NotLoopback(_) => "api.not_loopback",
            Self::NotOffered(_) => "api.tool_not_offered",
            Self::Pipes(_) => "api.pipes",
            Self::Listen { .. } => "api.listen",
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Agent(error) => error.hint(),
            Self::Run(problem) | Self::Store(problem) => problem.hint.clone(),
            Self::ThreadExists(_) => "delete it first, or copy to another".to_owned(),
            Self::Body { .. } | Self::NoRoute(_) | Self::Method { .. } => {
                "compare with /openapi.json".to_owned()
            }
            Self::Timeout(_) => "nothing was cancelled: ask for the state again".to_owned(),
            Self::Stopping => "ask again after the restart".to_owned(),
            Self::Foreign { .. } => "call 127.0.0.1 or localhost directly".to_owned(),
            Self::NotLoopback(_) => {
                "bind 127.0.0.1 and put a proxy with access control in front".to_owned()
            }
            Self::NotOffered(_) => {
                "the person who runs this server can start it with --mcp-effects".to_owned()
            }
            Self::Pipes(_) => {
                "an MCP client starts this command; see docs/api.md for its configuration"
                    .to_owned()
            }
            Self::Listen { .. } => "choose another --port".to_owned(),
            Self::NothingAsked(_) => "read the thread's state for its open question".to_owned(),
            Self::TaskExists(_) => "give every task an id of its own".to_owned(),
            Self::TrialRuns(_) => "wait until it is over".to_owned(),
            Self::NoDeployment { .. } | Self::NotKept { .. } | Self::InvalidRequest(_) => {
                String::new()
            }
        }
    }

    fn problem(&self) -> Problem {
        match self {
            Self::Agent(error) => error.problem(),
            Self::Run(problem) | Self::Store(problem) => problem.clone(),
            _ => Problem {
                code: self.code().to_owned(),
                message: self.to_string(),
                hint: self.hint(),
            },
        }
    }
}

/// The status of a code. Codes are stable, so the statuses are.
pub(super) fn status_of(code: &str) -> StatusCode {
    let reason = code.split_once('.').map_or(code, |(_, reason)| reason);
    match code {
        // A graph that a run is pinned to and the store lost is our fault, not the caller's.
        "runtime.unknown_graph" => StatusCode::INTERNAL_SERVER_ERROR,
        "runtime.store" | "store.full" | "store.io" | "store.closed" => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        "runtime.write_unknown" | "runtime.write_undeclared" | "runtime.goto_undeclared" => {
            StatusCode::UNPROCESSABLE_ENTITY
        }
        "runtime.fork_in_doubt" | "runtime.thread_exists" => StatusCode::CONFLICT,
        "api.not_found" => StatusCode::NOT_FOUND,
        "api.trial_runs"
        | "api.task_exists"
        | "serving.not_enough_history"
        | "tools.not_possible" => StatusCode::CONFLICT,
        "serving.unreachable" | "serving.wrong_engine" | "serving.bad_answer" => {
            StatusCode::BAD_GATEWAY
        }
        "tools.timeout" => StatusCode::GATEWAY_TIMEOUT,
        "api.method_not_allowed" => StatusCode::METHOD_NOT_ALLOWED,
        "api.nothing_asked" | "api.thread_exists" => StatusCode::CONFLICT,
        "api.timeout" => StatusCode::GATEWAY_TIMEOUT,
        "api.stopping" => StatusCode::SERVICE_UNAVAILABLE,
        "api.foreign" | "api.tool_not_offered" | "tools.approval_missing" | "tools.disabled" => {
            StatusCode::FORBIDDEN
        }
        "agent.config" | "loadgen.bad_load" | "loadgen.bad_url" => StatusCode::BAD_REQUEST,
        _ if reason.starts_with("unknown_") => StatusCode::NOT_FOUND,
        _ if reason.starts_with("invalid_") || reason.ends_with("_invalid") => {
            StatusCode::UNPROCESSABLE_ENTITY
        }
        _ if matches!(reason, "busy" | "locked" | "no_run" | "state_incompatible" | "fenced")
            || reason.starts_with("interrupt_") =>
        {
            StatusCode::CONFLICT
        }
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let problem = self.problem();
        let status = match &self {
            Self::Body { status, .. } => *status,
            _ => status_of(&problem.code),
        };
        if status.is_server_error() {
            tracing::error!(code = problem.code, "{problem}");
        }
        let body = json!({
            "type": "about:blank",
            "title": status.canonical_reason().unwrap_or_default(),
            "status": status.as_u16(),
            "detail": problem.message,
            "code": problem.code,
            "hint": problem.hint,
        });
        (status, [(header::CONTENT_TYPE, "application/problem+json")], body.to_string())
            .into_response()
    }
}

/// A problem as a page; the shape of every error.
#[derive(serde::Serialize, utoipa::ToSchema)]
#[schema(as = ProblemDetails)]
pub(super) struct ProblemBody {
    /// Always `about:blank`: `code` says which problem it is.
    r#type: String,
    /// Words of the status.
    title: String,
    /// HTTP status.
    status: u16,
    /// What went wrong and what was expected.
    detail: String,
    /// `room.reason`, stable.
    code: String,
    /// What to do; may be empty.
    hint: String,
}
