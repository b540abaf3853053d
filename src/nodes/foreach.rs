//! `foreach`: one tool call per element of a list, results in the order of the elements.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use futures::{StreamExt, stream};
use serde_json::{Value, json};

use super::factory::scope;
use super::{Parts, call, error};
use crate::graph::{ForeachSpec, RetryPolicy};
use crate::runtime::{Node, NodeError, Outcome, StateView, TaskContext, Usage};

/// Reads the list; writes the list of results to `writes`.
///
/// Finished elements are remembered by the ledger: a further attempt, and a resumed run, call the others only. So each element
/// has as many attempts as the node's `retry` says, in rounds.
pub(super) struct ForeachNode {
    pub(super) parts: Parts,
    pub(super) spec: ForeachSpec,
    pub(super) retry: RetryPolicy,
    pub(super) writes: Option<String>,
}

#[async_trait]
impl Node for ForeachNode {
    async fn run(&self, view: &StateView, cx: &TaskContext) -> Result<Outcome, NodeError> {
        let items = items(&self.spec, view)?;
        let count = items.len();
        let over = AtomicBool::new(false);
        let calls = (0..count).map(|index| {
            let over = &over;
            async move {
                // Not begun is not lost: whoever tries the node again begins it.
                if over.load(Ordering::Relaxed) || cx.cancel.is_cancelled() {
                    return (index, None);
                }
                let done = self.element(index, count, &items[index], (view, cx)).await;
                if done.as_ref().is_err_and(|error| !self.is_retried(error, cx)) {
                    over.store(true, Ordering::Relaxed);
                }
                (index, Some(done))
            }
        });
        // Who has begun ends by itself, whatever becomes of the others: an effect cut short would be in doubt.
        let calls = stream::iter(calls).buffer_unordered(self.spec.max_parallel.max(1));
        let mut ended: Vec<_> = calls.collect().await;
        ended.sort_unstable_by_key(|(index, _)| *index);
        let results = self.results(ended.into_iter().map(|(_, done)| done), cx)?;
        let writes = self.writes.iter().map(|channel| (channel.clone(), json!(results))).collect();
        Ok(Outcome::Update { writes, grant: None, usage: Usage::default() })
    }
}

impl ForeachNode {
    async fn element(
        &self,
        index: usize,
        count: usize,
        item: &Value,
        (view, cx): (&StateView, &TaskContext),
    ) -> Result<Value, NodeError> {
        (cx.emit)(json!({"element": {"index": index, "count": count, "name": item.get("name")}}));
        let args = arguments(&self.spec, view, item, &cx.node)?;
        let number = u32::try_from(index).unwrap_or(u32::MAX);
        let (registry, model) = (&self.parts.registry, self.parts.model.name());
        call::call(registry, &model, &self.spec.call.tool, args, number, (view, cx)).await
    }

    /// Whether the node is tried again after this failure of an element: then the other elements need not wait for that.
    fn is_retried(&self, error: &NodeError, cx: &TaskContext) -> bool {
        cx.attempt < self.retry.max && self.retry.on.iter().any(|class| class == error.class.name())
    }

    /// The results, if there are all of them.
    ///
    /// Errors: that of the first element for which there is no further attempt, else that of the first that failed, with the
    /// longest pause that any asked for.
    fn results(
        &self,
        ended: impl Iterator<Item = Option<Result<Value, NodeError>>>,
        cx: &TaskContext,
    ) -> Result<Vec<Value>, NodeError> {
        let (mut results, mut failures, mut missing) = (Vec::new(), Vec::new(), false);
        for done in ended {
            match done {
                Some(Ok(result)) => results.push(result),
                Some(Err(error)) => failures.push(error),
                None => missing = true,
            }
        }
        let longest_ms = failures.iter().filter_map(|error| error.retry_after_ms).max();
        let last = failures.iter().position(|error| !self.is_retried(error, cx));
        if let Some(last) = last {
            return Err(failures.swap_remove(last));
        }
        match failures.into_iter().next() {
            Some(first) => Err(NodeError { retry_after_ms: longest_ms, ..first }),
            None if missing => Err(error::cancelled(&cx.node)),
            None => Ok(results),
        }
    }
}

/// The list.
pub(super) fn items<'v>(spec: &ForeachSpec, view: &'v StateView) -> Result<&'v [Value], NodeError> {
    match view.channels.get(&spec.items) {
        Some(Value::Array(items)) => Ok(items),
        other => Err(not_a_list(&spec.items, other)),
    }
}

/// Arguments of the call for one element.
pub(super) fn arguments(
    spec: &ForeachSpec,
    view: &StateView,
    item: &Value,
    node: &str,
) -> Result<Value, NodeError> {
    let mut scope: BTreeMap<String, Value> = scope(view);
    scope.insert(spec.element.clone(), item.clone());
    call::arguments(&spec.call, &scope, node)
}

fn not_a_list(channel: &str, found: Option<&Value>) -> NodeError {
    let found =
        found.map_or("nothing".to_owned(), |value| value.to_string().chars().take(80).collect());
    let message = format!("channel `{channel}` must hold a list, it holds {found}");
    error::invalid("nodes.not_a_list", message, "let an earlier node write it")
}
