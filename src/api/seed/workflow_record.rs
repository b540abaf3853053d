//! A workflow as it is kept: what was asked for, who decided, the thread that does the work.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::refusal::Refusal;
use crate::api::state::App;
use crate::base::{Document, ThreadId};

/// Collection of workflows.
const WORKFLOWS: &str = "seed.workflows";
/// Workflows that are listed at most, the newest.
pub(super) const LISTED_MAX: usize = 1_000;

/// A workflow.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Workflow {
    /// Its id.
    pub(super) id: String,
    /// As the caller calls it.
    pub(super) instance_id: String,
    /// `vllm`, `tgi` or `sglang`.
    pub(super) instance_type: String,
    /// Whether a person is asked before users are touched.
    pub(super) requires_approval: bool,
    /// As it was asked for.
    pub(super) auto_rollout: bool,
    /// As it was asked for: the pace of rollouts is the config's.
    pub(super) monitoring_duration_seconds: i64,
    /// As it was asked for.
    pub(super) health_threshold: f64,
    /// When it was asked for [ms].
    pub(super) created_ms: u64,
    /// The thread; `None`: nothing could be started.
    pub(super) thread: Option<ThreadId>,
    /// Why nothing could be started.
    pub(super) refused: Option<String>,
    /// What a person decided.
    pub(super) decision: Option<Decision>,
}

/// What a person decided.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Decision {
    /// Whether the change may go to users.
    pub(super) approved: bool,
    /// Who: the key, or without keys whoever the caller says.
    pub(super) by: Option<String>,
    /// The key, as records of consent name it.
    #[serde(default)]
    pub(super) key: Option<String>,
    /// When [ms].
    pub(super) at_ms: u64,
    /// Whether the run was told.
    pub(super) told: bool,
}

/// A workflow with the version of its document.
pub(super) type Kept = (Workflow, u64);

/// Writes a new workflow down.
pub(super) async fn create(app: &App, workflow: &Workflow) -> Result<(), Refusal> {
    put(app, workflow, 0).await.map(drop)
}

/// Writes a workflow down that was read at `version`. `false`: somebody else was faster.
pub(super) async fn put(app: &App, workflow: &Workflow, version: u64) -> Result<bool, Refusal> {
    let documents = app.agent().documents();
    let put = documents.put(WORKFLOWS, &workflow.id, Some(version), json!(workflow)).await?;
    Ok(put.is_some())
}

/// A workflow.
///
/// Errors: 404.
pub(super) async fn kept(app: &App, id: &str) -> Result<Kept, Refusal> {
    let missing = || Refusal::missing(format!("Workflow {id} not found"));
    let document = app.agent().documents().get(WORKFLOWS, id).await?;
    read(document.ok_or_else(missing)?).ok_or_else(missing)
}

/// Every workflow, the newest first.
pub(super) async fn list(app: &App) -> Result<Vec<Kept>, Refusal> {
    let documents = app.agent().documents().list(WORKFLOWS, LISTED_MAX).await?;
    let mut all: Vec<Kept> = documents.into_iter().filter_map(read).collect();
    all.sort_by(|a, b| (b.0.created_ms, &b.0.id).cmp(&(a.0.created_ms, &a.0.id)));
    Ok(all)
}

fn read(document: Document) -> Option<Kept> {
    let version = document.version;
    serde_json::from_value(document.value).ok().map(|workflow| (workflow, version))
}
