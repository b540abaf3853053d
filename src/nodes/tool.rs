//! `tool`: one call of one typed tool.

use async_trait::async_trait;

use super::factory::scope;
use super::{Parts, call};
use crate::graph::ToolCallSpec;
use crate::runtime::{Node, NodeError, Outcome, StateView, TaskContext, Usage};

/// Reads what its arguments name; writes the tool's result to `writes`.
pub(super) struct ToolNode {
    pub(super) parts: Parts,
    pub(super) spec: ToolCallSpec,
    pub(super) writes: Option<String>,
}

#[async_trait]
impl Node for ToolNode {
    async fn run(&self, view: &StateView, cx: &TaskContext) -> Result<Outcome, NodeError> {
        let args = call::arguments(&self.spec, &scope(view), &cx.node)?;
        let (registry, model) = (&self.parts.registry, self.parts.model.name());
        let result = call::call(registry, &model, &self.spec.tool, args, 0, (view, cx)).await?;
        let writes = self.writes.iter().map(|channel| (channel.clone(), result.clone())).collect();
        Ok(Outcome::Update { writes, grant: None, usage: Usage::default() })
    }
}
