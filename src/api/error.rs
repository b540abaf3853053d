//! Errors as RFC 9457 problem details: the only place that knows which code has which status.

use std::net::SocketAddr;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::security::Scope;
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
    /// Work that was stopped from outside, or broke.
    #[error("the work did not finish: {0}")]
    Interrupted(String),
    /// A write that does not say which version it replaces.
    #[error(
        "a write says which version it replaces, in `If-Match`, or `If-None-Match: *` where there is none"
    )]
    PreconditionMissing,
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
    /// A deployment whose servers would be started by a request.
    #[error("`launcher: {0}` is not added by a request: what a caller says is never executed")]
    LauncherRefused(String),
    /// An address that this server does not call.
    #[error("`{url}`: {detail}")]
    Endpoint {
        /// Address.
        url: String,
        /// Why not.
        detail: String,
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
    /// A config that the engine or the device would refuse.
    #[error("the config is not legal: {0}")]
    InvalidConfig(String),
    /// A deployment has one rollout at a time.
    #[error("rollout `{rollout}` goes on at `{deployment}`")]
    RolloutGoesOn {
        /// Deployment.
        deployment: String,
        /// Its rollout.
        rollout: String,
    },
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
    /// No key, or none that counts. Which of the two is nobody's business.
    #[error("this needs a key that counts")]
    Unauthenticated,
    /// A key that does not allow this.
    #[error("the key does not have the scope `{0}`")]
    Forbidden(Scope),
    /// A key that asks too often.
    #[error("the key asks too often")]
    RateLimited {
        /// When it may ask again [s].
        retry_after_s: u64,
    },
    /// An `Idempotency-Key` that is none.
    #[error("`Idempotency-Key` is one header of 1 to 255 visible characters")]
    IdempotencyKey,
    /// The same `Idempotency-Key` with another request.
    #[error("this `Idempotency-Key` came with another request before")]
    IdempotencyMismatch,
    /// The same request is being answered.
    #[error("a request with this `Idempotency-Key` has not been answered yet")]
    IdempotencyBusy,
    /// The request failed on its way, or the process that took it on was cut off before its answer.
    #[error("the request with this `Idempotency-Key` failed: it may have started something")]
    IdempotencyInDoubt,
    /// No such key.
    #[error("there is no key `{0}`")]
    NoKey(String),
    /// A key in the store that does not read.
    #[error("the key `{id}` does not read: {detail}")]
    KeyUnreadable {
        /// Key.
        id: String,
        /// What is wrong.
        detail: String,
    },
    /// The machine has no randomness to make a key from.
    #[error("the machine gives no random bytes")]
    NoRandomness,
    /// An option of the server that makes no sense.
    #[error("{0}")]
    InvalidOption(String),
    /// A certificate or its key cannot be used.
    #[error("{file}: {detail}")]
    Tls {
        /// File.
        file: String,
        /// What is wrong.
        detail: String,
    },
    /// The audit log cannot be written or read.
    #[error("{file}: {source}")]
    Audit {
        /// File.
        file: String,
        /// Cause.
        source: std::io::Error,
    },
    /// The address cannot be taken.
    #[error("{listen} cannot be taken: {source}")]
    Listen {
        /// Address.
        listen: SocketAddr,
        /// Cause.
        source: std::io::Error,
    },
}

impl Error {
    /// Work that broke in a way that it should not; the log has more.
    pub(super) fn panicked() -> Self {
        Self::Interrupted("a fault of this program; the log says more".to_owned())
    }
}

impl Coded for Error {
    fn code(&self) -> &'static str {
        match self {
            Self::Agent(error) => error.code(),
            Self::Run(_) => "agent.run_failed",
            Self::Body { .. } => "api.invalid_body",
            Self::Interrupted(_) => "api.interrupted",
            Self::PreconditionMissing => "api.precondition_missing",
            Self::InvalidRequest(_) => "api.invalid_request",
            Self::Store(_) => "runtime.store",
            Self::ThreadExists(_) => "api.thread_exists",
            Self::NothingAsked(_) => "api.nothing_asked",
            Self::NoDeployment { .. } => "api.unknown_deployment",
            Self::LauncherRefused(_) => "api.launcher_refused",
            Self::Endpoint { .. } => "api.invalid_endpoint",
            Self::NotKept { .. } => "api.not_found",
            Self::TaskExists(_) => "api.task_exists",
            Self::InvalidConfig(_) => "api.invalid_config",
            Self::RolloutGoesOn { .. } => "api.rollout_goes_on",
            Self::TrialRuns(_) => "api.trial_runs",
            Self::NoRoute(_) => "api.unknown_route",
            Self::Method { .. } => "api.method_not_allowed",
            Self::Timeout(_) => "api.timeout",
            Self::Stopping => "api.stopping",
            Self::Foreign { .. } => "api.foreign",
            Self::NotLoopback(_) => "api.not_loopback",
            Self::NotOffered(_) => "api.tool_not_offered",
            Self::Pipes(_) => "api.pipes",
            Self::Unauthenticated => "api.unauthenticated",
            Self::Forbidden(_) => "api.forbidden",
            Self::RateLimited { .. } => "api.rate_limited",
            Self::IdempotencyKey => "api.invalid_idempotency_key",
            Self::IdempotencyMismatch => "api.idempotency_mismatch",
            Self::IdempotencyBusy => "api.idempotency_busy",
            Self::IdempotencyInDoubt => "api.idempotency_in_doubt",
            Self::NoKey(_) => "api.unknown_key",
            Self::KeyUnreadable { .. } => "api.key_unreadable",
            Self::NoRandomness => "api.no_randomness",
            Self::InvalidOption(_) => "api.bad_option",
            Self::Tls { .. } => "api.tls",
            Self::Audit { .. } => "api.audit",
            Self::Listen { .. } => "api.listen",
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Agent(error) => error.hint(),
            Self::Run(problem) | Self::Store(problem) => problem.hint.clone(),
            Self::LauncherRefused(_) => {
                "declare it in the config file; `launcher: external` can be added".to_owned()
            }
            Self::Endpoint { .. } => {
                "give base URLs of servers of this machine, or of hosts in PERF_AGENT_SCRAPE_ALLOW"
                    .to_owned()
            }
            Self::PreconditionMissing => "GET answers the version as `ETag`".to_owned(),
            Self::ThreadExists(_) => "delete it first, or copy to another".to_owned(),
            Self::Body { .. } | Self::NoRoute(_) | Self::Method { .. } => {
                "compare with /openapi.json".to_owned()
            }
            Self::Timeout(_) => "nothing was cancelled: ask for the state again".to_owned(),
            Self::Stopping => "ask again after the restart".to_owned(),
            Self::Foreign { .. } => "call 127.0.0.1 or localhost directly".to_owned(),
            Self::NotLoopback(_) => {
                "make a key with `perf-agent keys create`, or bind 127.0.0.1".to_owned()
            }
            Self::NotOffered(_) => {
                "the person who runs this server can start it with --mcp-effects".to_owned()
            }
            Self::Pipes(_) => {
                "an MCP client starts this command; see docs/api.md for its configuration"
                    .to_owned()
            }
            Self::Unauthenticated => {
                "send `Authorization: Bearer <key>`; `perf-agent keys create` makes one".to_owned()
            }
            Self::Forbidden(scope) => format!("use a key that was made with `--scope {scope}`"),
            Self::RateLimited { retry_after_s } => format!("ask again after {retry_after_s} s"),
            Self::IdempotencyMismatch => "use a new one for a new request".to_owned(),
            Self::IdempotencyBusy => "ask again in a moment".to_owned(),
            Self::IdempotencyInDoubt => {
                "look whether it runs, then ask with a new `Idempotency-Key`".to_owned()
            }
            Self::NoKey(_) => "`perf-agent keys list` shows them".to_owned(),
            Self::KeyUnreadable { .. } => "restore a backup of the store".to_owned(),
            Self::Tls { .. } => "give PEM files to --tls-cert and --tls-key".to_owned(),
            Self::Audit { .. } => "check the path, its permissions and the disk".to_owned(),
            Self::Listen { .. } => "choose another --port".to_owned(),
            Self::NothingAsked(_) => "read the thread's state for its open question".to_owned(),
            Self::TaskExists(_) => "give every task an id of its own".to_owned(),
            Self::TrialRuns(_) => "wait until it is over".to_owned(),
            Self::InvalidConfig(_) => "`POST /test/validate` says what it would do".to_owned(),
            Self::RolloutGoesOn { .. } => {
                "wait for it, or take it back with `POST /rollout/rollback`".to_owned()
            }
            Self::NoDeployment { .. }
            | Self::NotKept { .. }
            | Self::InvalidRequest(_)
            | Self::InvalidOption(_)
            | Self::Interrupted(_)
            | Self::IdempotencyKey
            | Self::NoRandomness => String::new(),
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
        "runtime.fork_in_doubt" | "runtime.fork_incomplete" | "runtime.thread_exists" => {
            StatusCode::CONFLICT
        }
        "api.not_found" => StatusCode::NOT_FOUND,
        "api.precondition_missing" => StatusCode::PRECONDITION_REQUIRED,
        "agent.graph_refused" | "agent.not_in_catalogue" => StatusCode::UNPROCESSABLE_ENTITY,
        "agent.built_in"
        | "agent.stale"
        | "agent.name_taken"
        | "agent.declared"
        | "agent.deployment_exists"
        | "agent.deployment_busy"
        | "agent.simulated_fleet" => StatusCode::CONFLICT,
        "api.launcher_refused" => StatusCode::FORBIDDEN,
        "api.unauthenticated" => StatusCode::UNAUTHORIZED,
        "api.rate_limited" => StatusCode::TOO_MANY_REQUESTS,
        "api.idempotency_mismatch" => StatusCode::UNPROCESSABLE_ENTITY,
        "api.idempotency_busy" | "api.idempotency_in_doubt" => StatusCode::CONFLICT,
        "api.trial_runs"
        | "api.rollout_goes_on"
        | "api.task_exists"
        | "serving.not_enough_history"
        | "tools.order_refused"
        | "tools.not_possible" => StatusCode::CONFLICT,
        "serving.unreachable" | "serving.wrong_engine" | "serving.bad_answer" => {
            StatusCode::BAD_GATEWAY
        }
        "tools.timeout" => StatusCode::GATEWAY_TIMEOUT,
        "api.method_not_allowed" => StatusCode::METHOD_NOT_ALLOWED,
        "api.nothing_asked" | "api.thread_exists" => StatusCode::CONFLICT,
        "api.timeout" => StatusCode::GATEWAY_TIMEOUT,
        "api.stopping" => StatusCode::SERVICE_UNAVAILABLE,
        "api.foreign"
        | "api.forbidden"
        | "api.tool_not_offered"
        | "tools.approval_missing"
        | "tools.disabled" => StatusCode::FORBIDDEN,
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
        let mut body = json!({
            "type": "about:blank",
            "title": status.canonical_reason().unwrap_or_default(),
            "status": status.as_u16(),
            "detail": problem.message,
            "code": problem.code,
            "hint": problem.hint,
        });
        if let Self::Agent(error) = &self {
            add_details(&mut body, error);
        }
        let content = [(header::CONTENT_TYPE, "application/problem+json")];
        let mut response = (status, content, body.to_string()).into_response();
        // For layers whose refusals have another shape.
        response.extensions_mut().insert(problem);
        let headers = response.headers_mut();
        match self {
            Self::Unauthenticated => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Self::RateLimited { retry_after_s } => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(retry_after_s));
            }
            _ => {}
        }
        response
    }
}

/// What some problems say beside their text, for programs.
fn add_details(body: &mut Value, error: &agent::Error) {
    match error {
        agent::Error::Graph { findings, .. } => body["findings"] = json!(shown(findings)),
        agent::Error::Stale { current, .. } => body["current"] = json!(current),
        _ => {}
    }
}

/// Findings of the loader.
pub(super) fn shown(findings: &[agent::Finding]) -> Vec<FindingBody> {
    let one = |finding: &agent::Finding| FindingBody {
        code: finding.code.to_owned(),
        file: finding.file.clone(),
        line: finding.line,
        column: finding.column,
        message: finding.message.clone(),
        hint: finding.hint.clone(),
    };
    findings.iter().map(one).collect()
}

/// Something wrong with a graph file.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
#[schema(as = Finding)]
pub(super) struct FindingBody {
    /// `PA0xx`, stable.
    code: String,
    /// Name of the file.
    file: String,
    /// Line, from 1.
    line: u64,
    /// Column in characters, from 1.
    column: u64,
    /// What is wrong and what was expected.
    message: String,
    /// What to do; may be empty.
    hint: String,
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
    /// With `agent.graph_refused`: everything that is wrong, at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    findings: Option<Vec<FindingBody>>,
    /// With `agent.stale`: the version that is there; `null`: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    current: Option<String>,
}
