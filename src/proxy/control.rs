//! How the agent steers the proxy: HTTP and JSON over a Unix socket that only this user can open.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::Path;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router as Routes};
use serde::Deserialize;
use serde_json::json;
use tokio::net::UnixListener;

use crate::base::Coded as _;
use crate::domain::TrafficTable;

use super::Error;
use super::forward::Forwarder;

/// Records in one answer when the agent does not say.
const PAGE: usize = 10_000;

/// Makes the socket. It appears under its name only when nobody else can open it any more.
///
/// Errors: [`Error::AlreadyRunning`] when a proxy answers there; [`Error::Control`].
pub fn bind(path: &Path) -> Result<UnixListener, Error> {
    if StdUnixStream::connect(path).is_ok() {
        return Err(Error::AlreadyRunning(path.to_owned()));
    }
    let make = || {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder)?;
        }
        let beside = path.with_extension(format!("{}", std::process::id()));
        let _ = fs::remove_file(&beside);
        let listener = UnixListener::bind(&beside)?;
        fs::set_permissions(&beside, Permissions::from_mode(0o600))?;
        // A socket that a killed proxy left is replaced.
        fs::rename(&beside, path)?;
        Ok(listener)
    };
    make().map_err(|source| Error::Control { path: path.to_owned(), source })
}

/// Every route.
pub fn routes(forwarder: Arc<Forwarder>) -> Routes {
    Routes::new()
        .route("/table", get(table).put(put_table))
        .route("/renew", post(renew))
        .route("/in_flight", get(in_flight))
        .route("/records", get(records))
        .route("/metrics", get(metrics))
        .route("/health", get(health))
        .with_state(forwarder)
}

/// The table in force. 404 before the first one.
async fn table(State(forwarder): State<Arc<Forwarder>>) -> Response {
    match forwarder.router.current() {
        Some(routing) => Json(&routing.table).into_response(),
        None => problem(StatusCode::NOT_FOUND, "proxy.no_table", "no table was applied yet"),
    }
}

/// Puts a table in force. 200 · 409 with `held` and `offered` · 422 when it contradicts itself · 500 when the disk fails.
async fn put_table(
    State(forwarder): State<Arc<Forwarder>>,
    Json(table): Json<TrafficTable>,
) -> Response {
    let generation = table.generation;
    // The disk is synced: not on a thread that passes streams on.
    let applied = tokio::task::spawn_blocking(move || forwarder.router.apply(table)).await;
    match applied {
        Ok(Ok(())) => Json(json!({ "generation": generation })).into_response(),
        Ok(Err(error)) => refusal(&error),
        Err(error) => {
            problem(StatusCode::INTERNAL_SERVER_ERROR, "proxy.internal", &error.to_string())
        }
    }
}

fn refusal(error: &Error) -> Response {
    let status = match error {
        Error::StaleGeneration { .. } => StatusCode::CONFLICT,
        Error::InvalidTable(_) => StatusCode::UNPROCESSABLE_ENTITY,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let mut body = json!(error.problem());
    if let Error::StaleGeneration { held, offered } = error {
        body["held"] = json!(held);
        body["offered"] = json!(offered);
    }
    (status, Json(body)).into_response()
}

fn problem(status: StatusCode, code: &str, message: &str) -> Response {
    (status, Json(json!({ "code": code, "message": message, "hint": "" }))).into_response()
}

/// Begins the lease anew.
async fn renew(State(forwarder): State<Arc<Forwarder>>) -> Response {
    forwarder.router.renew();
    StatusCode::NO_CONTENT.into_response()
}

/// Requests under way by backend, backends that left the table included.
async fn in_flight(State(forwarder): State<Arc<Forwarder>>) -> Response {
    Json(json!({ "backends": forwarder.router.backends().in_flight() })).into_response()
}

#[derive(Deserialize)]
struct RecordsQuery {
    #[serde(default)]
    after: u64,
    limit: Option<usize>,
}

/// Records after a number, oldest first, the number to ask with next, and how many were lost in between.
async fn records(
    State(forwarder): State<Arc<Forwarder>>,
    Query(query): Query<RecordsQuery>,
) -> Response {
    let limit = query.limit.unwrap_or(PAGE).min(PAGE);
    Json(forwarder.journal.recorder.after(query.after, limit)).into_response()
}

/// The proxy's own Prometheus page.
async fn metrics(State(forwarder): State<Arc<Forwarder>>) -> Response {
    forwarder.journal.metrics.page(&forwarder.router).into_response()
}

/// The proxy is alive; which table it holds and how often a lease ended.
async fn health(State(forwarder): State<Arc<Forwarder>>) -> Response {
    let generation = forwarder.router.current().map(|routing| routing.table.generation);
    let reverts = forwarder.journal.metrics.lease_reverts();
    Json(json!({ "generation": generation, "lease_reverts": reverts })).into_response()
}
