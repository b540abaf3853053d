//! `/prompts`: what the agent says to models and people.

use axum::Json;
use axum::extract::{Path, State};

use super::Error;
use super::state::App;

/// Names of the prompts.
#[utoipa::path(get, path = "/prompts", tag = "prompts", responses((status = 200, body = Vec<String>)))]
pub(super) async fn list(State(app): State<App>) -> Json<Vec<String>> {
    Json(app.agent().prompts().keys().cloned().collect())
}

/// The text of a prompt.
#[utoipa::path(
    get, path = "/prompts/{name}", tag = "prompts",
    params(("name" = String, Path, description = "File name: `approve.md`")),
    responses(
        (status = 200, content_type = "text/plain", body = String),
        (status = 404, body = super::error::ProblemBody),
    ),
)]
pub(super) async fn show(
    State(app): State<App>,
    Path(name): Path<String>,
) -> Result<String, Error> {
    let text = app.agent().prompts().get(&name).cloned();
    text.ok_or(Error::NotKept { what: "prompt", id: name })
}
