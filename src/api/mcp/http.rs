//! `/mcp`: the protocol as streamable HTTP. Every request stands for itself: nothing is lost with a restart.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};

use super::McpAccess;
use super::protocol::Door;
use crate::agent::Drivers;
use crate::api::state::App;
use crate::base::ThreadId;

/// Largest message [bytes].
const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// The protocol over HTTP.
pub(in crate::api) type Service = StreamableHttpService<Door, NeverSessionManager>;

/// What answers `/mcp`. Who may speak at all is decided before, for every route alike.
pub(in crate::api) fn service(
    drivers: Drivers,
    access: McpAccess,
    config: Option<Arc<str>>,
) -> Service {
    let door = Door { drivers, access, config, how_to_answer, keys: true };
    let options = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_max_request_body_bytes(MESSAGE_BYTES_MAX)
        .disable_allowed_hosts();
    StreamableHttpService::new(
        move || Ok(door.clone()),
        Arc::new(NeverSessionManager::default()),
        options,
    )
}

fn how_to_answer(thread: &ThreadId) -> String {
    format!(
        "A person answers it over this server's HTTP API: POST /optimize/{thread}/approve or /optimize/{thread}/reject; any other \
         answer as POST /threads/{thread}/runs/wait with {{\"assistant_id\": GRAPH, \"command\": {{\"resume\": ANSWER}}}}. Then \
         call read_thread with this thread_id."
    )
}

/// The Model Context Protocol: one JSON-RPC message; its answer comes as a stream of events. A key needs `read`, and
/// `operate` too for what does more.
#[utoipa::path(
    post, path = "/mcp", tag = "mcp", request_body = Object,
    responses(
        (status = 200, content_type = "text/event-stream", body = String, description = "The answer, after what was to be told before it"),
        (status = 202, description = "A notification was taken"),
        (status = "4XX", content_type = "text/plain", body = String, description = "Not a message of the protocol, or headers that do not fit it"),
    ),
)]
pub(in crate::api) async fn handle(State(app): State<App>, mut request: Request) -> Response {
    // Whose key it is, which was put there before, is asked again where something is called.
    request.extensions_mut().insert(app.security.clone());
    let mut response = app.mcp.handle(request).await.map(Body::new);
    if response.status().is_client_error() {
        let plain = HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers_mut().entry(header::CONTENT_TYPE).or_insert(plain);
    }
    response
}
