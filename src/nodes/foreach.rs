//! `foreach`: one tool call per element of a list, results in the order of the elements.

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};

use super::factory::scope;
use super::{Parts, call, error};
use crate::graph::{ForeachSpec, render_args};
use crate::runtime::{Node, NodeError, Outcome, StateView, TaskContext, Usage};

/// Reads the list; writes the list of results to `writes`. Finished elements are remembered by the ledger.
pub(super) struct ForeachNode {
    pub(super) parts: Parts,
    pub(super) spec: ForeachSpec,
    pub(super) writes: Option<String>,
}

#[async_trait]
impl Node for ForeachNode {
    async fn run(&self, view: &StateView, cx: &TaskContext) -> Result<Outcome, NodeError> {
        let items = match view.channels.get(&self.spec.items) {
            Some(Value::Array(items)) => items.clone(),
            other => return Err(not_a_list(&self.spec.items, other)),
        };
        let count = items.len();
        let calls = items.into_iter().enumerate().map(|(index, item)| async move {
            (cx.emit)(
                json!({"element": {"index": index, "count": count, "name": item.get("name")}}),
            );
            let mut scope = scope(view);
            scope.insert(self.spec.element.clone(), item);
            let args = render_args(&self.spec.call.args, &scope).map_err(|message| {
                error::template(&format!("arguments of `{}`", cx.node), message)
            })?;
            let number = u32::try_from(index).unwrap_or(u32::MAX);
            let (registry, model) = (&self.parts.registry, self.parts.model.name());
            call::call(registry, &model, &self.spec.call.tool, args, number, (view, cx)).await
        });
        let parallel = self.spec.max_parallel.max(1);
        let results: Vec<Value> = stream::iter(calls).buffered(parallel).try_collect().await?;
        let writes = self.writes.iter().map(|channel| (channel.clone(), json!(results))).collect();
        Ok(Outcome::Update { writes, grant: None, usage: Usage::default() })
    }
}

fn not_a_list(channel: &str, found: Option<&Value>) -> NodeError {
    let found =
        found.map_or("nothing".to_owned(), |value| value.to_string().chars().take(80).collect());
    let message = format!("channel `{channel}` must hold a list, it holds {found}");
    error::invalid("nodes.not_a_list", message, "let an earlier node write it")
}
