//! A tool call of a node: over the registry, remembered by the runtime's effect ledger.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;

use super::error::{self, from_tool};
use crate::base::{EffectKey, stable_hash};
use crate::graph::{ToolCallSpec, render_args};
use crate::runtime::{Effects, ErrorClass, NodeError, StateView, TaskContext};
use crate::tools::{Call, Consent, Error, Ledger, Registry};

/// Arguments of a call, with their templates filled in.
pub(super) fn arguments(
    spec: &ToolCallSpec,
    scope: &BTreeMap<String, Value>,
    node: &str,
) -> Result<Value, NodeError> {
    let filled = render_args(&spec.args, scope);
    filled.map_err(|message| error::template(&format!("arguments of `{node}`"), message))
}

/// Makes call number `number` of this task.
pub(super) async fn call(
    registry: &Registry,
    model: &str,
    tool: &str,
    args: Value,
    number: u32,
    (view, cx): (&StateView, &TaskContext),
) -> Result<Value, NodeError> {
    call_raw(registry, model, tool, args, number, (view, cx)).await.map_err(|e| from_tool(&e))
}

/// The same with the tool's own error: an agent shows it to its model.
pub(super) async fn call_raw(
    registry: &Registry,
    model: &str,
    tool: &str,
    args: Value,
    number: u32,
    (view, cx): (&StateView, &TaskContext),
) -> Result<Value, Error> {
    let ledger = RunLedger(cx.effects.clone());
    // A model may choose differently when it is asked again: only the very same call is the same effect.
    let place = cx.effects.key(number);
    let key = EffectKey(stable_hash(&[place.as_str(), tool, &args.to_string()]));
    let call = Call {
        tool,
        args,
        key,
        run: cx.run.to_string(),
        consents: consents(view),
        model: model.to_owned(),
        ledger: &ledger,
        emit: cx.emit.clone(),
        cancel: cx.cancel.clone(),
    };
    registry.call(call).await
}

/// Consents on this thread: granted approvals, and an operator who said beforehand never to ask.
fn consents(view: &StateView) -> Vec<Consent> {
    let mut consents: Vec<Consent> =
        view.grants.iter().map(|grant| Consent { by: grant.by.clone() }).collect();
    if view.context.get("approval").and_then(Value::as_str) == Some("never") {
        let operator = view.context.get("operator").and_then(Value::as_str).unwrap_or("operator");
        consents.push(Consent { by: format!("{operator} (approval: never)") });
    }
    consents
}

/// The runtime's ledger as the registry sees it.
struct RunLedger(Arc<dyn Effects>);

#[async_trait]
impl Ledger for RunLedger {
    async fn begin(&self, key: &EffectKey, policy: &str) -> Result<Option<Value>, Error> {
        self.0.begin(key, policy).await.map_err(store_error)
    }

    async fn finish(&self, key: &EffectKey, result: &Value) -> Result<(), Error> {
        self.0.finish(key, result).await.map_err(store_error)
    }
}

fn store_error(error: NodeError) -> Error {
    Error::Store { in_doubt: error.class == ErrorClass::InDoubt, problem: error.problem }
}
