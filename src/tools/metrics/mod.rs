//! Tools that look: deployments, their metrics, their past.

mod list_deployments;
mod query_history;
mod read_metrics;

pub(super) use list_deployments::ListDeployments;
pub(super) use query_history::QueryHistory;
pub(super) use read_metrics::ReadMetrics;
