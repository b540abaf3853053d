//! `set`: channels computed from expressions.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde_json::Value;

use super::error;
use super::factory::scope;
use crate::graph::render_args;
use crate::runtime::{Node, NodeError, Outcome, StateView, TaskContext, Usage};

/// Writes each of its channels.
pub(super) struct SetNode {
    pub(super) values: BTreeMap<String, Value>,
}

#[async_trait]
impl Node for SetNode {
    async fn run(&self, view: &StateView, cx: &TaskContext) -> Result<Outcome, NodeError> {
        let scope = scope(view);
        let writes = self
            .values
            .iter()
            .map(|(channel, template)| {
                let value = render_args(template, &scope).map_err(|message| {
                    error::template(&format!("value of `{channel}` in `{}`", cx.node), message)
                })?;
                Ok((channel.clone(), value))
            })
            .collect::<Result<_, NodeError>>()?;
        Ok(Outcome::Update { writes, grant: None, usage: Usage::default() })
    }
}
