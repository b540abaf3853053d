//! The doors of a subgraph: values filled from templates, on the way in and on the way out.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{ErrorClass, Node, NodeError, Outcome, StateView, TaskContext, Usage};
use crate::base::Problem;
use crate::graph::render_args;

/// Writes each of its channels.
pub(super) struct Fill(pub(super) BTreeMap<String, Value>);

#[async_trait]
impl Node for Fill {
    async fn run(&self, view: &StateView, cx: &TaskContext) -> Result<Outcome, NodeError> {
        let mut scope = view.channels.clone();
        scope.insert("context".to_owned(), json!(view.context));
        scope.insert("visits".to_owned(), json!(view.visits));
        let filled = self.0.iter().map(|(channel, template)| {
            let value =
                render_args(template, &scope).map_err(|why| unfilled(&cx.node, channel, &why));
            Ok((channel.clone(), value?))
        });
        let writes = filled.collect::<Result<_, NodeError>>()?;
        Ok(Outcome::Update { writes, grant: None, usage: Usage::default() })
    }
}

/// A template that did not render.
pub(super) fn unfilled(node: &str, channel: &str, why: &str) -> NodeError {
    let problem = Problem {
        code: "runtime.template".to_owned(),
        message: format!("value of `{channel}` in `{node}`: {why}"),
        hint: "correct the expression in the graph file".to_owned(),
    };
    NodeError::new(ErrorClass::Invalid, problem)
}
