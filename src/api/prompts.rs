//! `/prompts`: what the agent says to models and people.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderName, HeaderValue};

use super::Error;
use super::body::Text;
use super::graphs::{Put, Replaced, written};
use super::precondition::{Precondition, VersionHeaders, etag};
use super::state::App;

/// Names of the prompts.
#[utoipa::path(get, path = "/prompts", tag = "prompts", responses((status = 200, body = Vec<String>)))]
pub(super) async fn list(State(app): State<App>) -> Json<Vec<String>> {
    Json(app.agent().prompts().keys().cloned().collect())
}

/// The text of a prompt. `ETag` is its version, which a PUT names in `If-Match`.
#[utoipa::path(
    get, path = "/prompts/{name}", tag = "prompts",
    params(("name" = String, Path, description = "File name: `approve.md`")),
    responses(
        (status = 200, content_type = "text/plain", body = String, headers(("ETag" = String, description = "Its version"))),
        (status = 404, body = super::error::ProblemBody),
    ),
)]
pub(super) async fn show(
    State(app): State<App>,
    Path(name): Path<String>,
) -> Result<([(HeaderName, HeaderValue); 1], String), Error> {
    let found = app.agent().prompt_text(&name)?;
    let found = found.ok_or(Error::NotKept { what: "prompt", id: name })?;
    Ok((etag(&found.version), found.text))
}

/// Writes a prompt in the folder of `--prompts`; the next run uses it, also where it is `system.md`.
///
/// What is wrong with graphs that name it is told at once, and nothing is written then.
#[utoipa::path(
    put, path = "/prompts/{name}", tag = "prompts",
    params(("name" = String, Path, description = "File name: `approve.md`"), VersionHeaders),
    request_body(content = String, description = "Text with `{{ placeholders }}`", content_type = "text/plain"),
    responses(
        (status = 200, body = Replaced, headers(("ETag" = String, description = "Its version now"))),
        (status = 201, body = Replaced, headers(("ETag" = String, description = "Its version now"))),
        (status = 409, description = "Another version is there, or nothing can be changed here", body = super::error::ProblemBody),
        (status = 422, description = "A graph would be refused with it: `findings` are all there are", body = super::error::ProblemBody),
        (status = 428, description = "Which version is replaced is not said", body = super::error::ProblemBody),
        (status = "4XX", body = super::error::ProblemBody),
    ),
)]
pub(super) async fn put(
    State(app): State<App>,
    Path(name): Path<String>,
    Precondition(expected): Precondition,
    Text(text): Text,
) -> Result<Put, Error> {
    written(&app, name, move |agent, name| agent.put_prompt(name, &text, &expected)).await
}
