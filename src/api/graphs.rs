//! `/graphs`: what can be run.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::Error;
use super::state::App;
use crate::agent::Drawing;

/// A graph.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Graph {
    /// Its name: the `assistant_id` of a run.
    name: String,
    /// The graph in Mermaid.
    mermaid: String,
}

/// Every graph, with its picture.
#[utoipa::path(get, path = "/graphs", tag = "graphs", responses((status = 200, body = Vec<Graph>)))]
pub(super) async fn list(State(app): State<App>) -> Result<Json<Vec<Graph>>, Error> {
    let agent = app.agent();
    let graphs: Result<Vec<Graph>, Error> = agent
        .graph_names()
        .into_iter()
        .map(|name| Ok(Graph { mermaid: agent.draw(&name, Drawing::Mermaid)?, name }))
        .collect();
    graphs.map(Json)
}
